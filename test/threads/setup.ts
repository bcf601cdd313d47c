import { ready } from '../../src/index';

await ready({ threads: 2 });
