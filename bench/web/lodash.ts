// benchmark.js looks for lodash in the global scope where there is no require.
import lodash from 'lodash';

Object.assign(globalThis, { _: lodash });
