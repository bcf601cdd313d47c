import { catalog } from '../../src/catalog';

declare const data: {
  name: string;
  family: string;
  summary: string;
  paper: { title: string; url: string };
}[];

export { data };

export default {
  load: () => catalog.map(({ name, family, summary, paper }) => ({ name, family, summary, paper })),
};
