import { catalog } from '../../src/catalog';
import { verify } from '../../src/cli/verify';
import { ready } from '../../src/index';
import { opPages } from '../.vitepress/opPage';

export default {
  async paths() {
    // one who writes a page does not wait for the errors of every op
    if (process.env.NODE_ENV !== 'production') return opPages(catalog, []);
    await ready();
    return opPages(
      catalog,
      catalog.map((entry) => verify(entry)),
    );
  },
};
