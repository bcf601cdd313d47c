import fc from 'fast-check';
import { ready } from '../src/index';
import { allowRelaxedSimd } from './relaxed/allow';

// the same shapes on every run, others with SEED=…; a failure prints its path
fc.configureGlobal({ seed: Number(process.env.SEED ?? 42) });
if (process.env.SIMD === 'relaxed') allowRelaxedSimd();
await ready();
