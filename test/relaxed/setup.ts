import { ready } from '../../src/index';
import { allowRelaxedSimd } from './allow';

allowRelaxedSimd();
await ready({ simd: 'simd' });
