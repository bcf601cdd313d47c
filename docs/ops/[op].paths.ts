import { catalog } from '../../src/catalog';
import { opPages } from '../.vitepress/opPage';

export default { paths: () => opPages(catalog) };
