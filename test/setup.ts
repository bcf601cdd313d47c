import { ready } from '../src/index';

await ready();
