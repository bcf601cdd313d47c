import { type Tensor, tensor1d } from '@tensorflow/tfjs-core';
import { checkShapes } from '../tensor/shape';
import { positionTerms } from './positionTerms';
import type { ScoreMod } from './scoreMods';

/** What a list of modifications comes to: terms before a softcap, the softcap, terms after it. */
export interface CompiledScoreMods {
  /** 0 for none */
  softcap: number;
  before?: Tensor;
  after?: Tensor;
}

/** Slopes of 2^(-8 i / n) for n heads a power of 2; other numbers of heads take every second one of the next power. */
function paperSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const sequence = (n: number) => Array.from({ length: n }, (_, i) => 2 ** ((-8 * (i + 1)) / n));
  const more = sequence(2 * power).filter((_, i) => i % 2 === 0);
  return [...sequence(power), ...more.slice(0, heads - power)];
}

function t5Bucket(distance: number, buckets: number, bidirectional: boolean, maxDistance: number): number {
  const half = bidirectional ? buckets >> 1 : buckets;
  const offset = bidirectional && distance > 0 ? half : 0;
  const n = bidirectional ? Math.abs(distance) : Math.max(0, -distance);
  const exact = half >> 1;
  if (n < exact) return offset + n;
  // in the single precision of the original, on which the bounds of buckets depend
  const { fround, log } = Math;
  const ratio = fround(fround(log(fround(n / exact))) / fround(log(maxDistance / exact)));
  return offset + Math.min(half - 1, exact + Math.floor(fround(ratio * (half - exact))));
}

/** Parameters of a term, and for every difference p - j the one that counts and its weight. */
function termOf(op: string, mod: Exclude<ScoreMod, { kind: 'softcap' }>, heads: number) {
  const perHead = (name: string, given: Tensor | readonly number[]) => {
    if ((given as Tensor)?.dataId === undefined && (given as readonly number[])?.length !== heads) {
      throw new RangeError(
        `${op}: ${name} has ${(given as readonly number[])?.length} numbers; expected Hq = ${heads}`,
      );
    }
    return given;
  };
  const first = () => 0;
  switch (mod.kind) {
    case 'alibi':
      return {
        name: 'slopes',
        given: perHead('slopes', mod.slopes ?? paperSlopes(heads)),
        notation: `${heads}`,
        column: first,
        weight: (difference: number) => -difference,
      };
    case 'causalDecay':
      return {
        name: 'logDecay',
        given: perHead('logDecay', mod.logDecay),
        notation: `${heads}`,
        column: first,
        weight: (difference: number) => Math.max(0, difference),
      };
    case 'relativePositionBias': {
      const reach = ((mod.table?.shape?.[1] ?? 1) - 1) / 2;
      return {
        name: 'table',
        given: mod.table,
        notation: `${heads} ${2 * Math.max(0, Math.ceil(reach)) + 1}`,
        column: (difference: number) => Math.min(Math.max(-difference, -reach), reach) + reach,
        weight: () => 1,
      };
    }
    case 't5Bias': {
      const { bidirectional, maxDistance } = mod;
      const buckets = mod.table?.shape?.[0] ?? 0;
      const exact = (bidirectional ? buckets >> 1 : buckets) >> 1;
      if (exact < 1 || !(maxDistance > exact)) {
        throw new RangeError(
          `${op}: t5Bias has ${buckets} buckets up to maxDistance ${maxDistance}; expected at least ` +
            `${bidirectional ? 4 : 2} buckets and a distance beyond the ${exact} exact ones`,
        );
      }
      return {
        name: 'table',
        given: mod.table,
        notation: `buckets ${heads}`,
        column: (difference: number) => t5Bucket(-difference, buckets, bidirectional, maxDistance),
        weight: () => 1,
      };
    }
    default:
      throw new TypeError(`${op}: scoreMod has an unknown kind, ${String((mod as ScoreMod | null)?.kind)}`);
  }
}

/**
 * Turns modifications, applied in order, into tables of terms around one softcap. To be called in a tidy.
 *
 * @throws TypeError, RangeError for wrong parameters, or two softcaps
 */
export function compileScoreMods(
  op: string,
  mods: readonly ScoreMod[],
  { Hq, Tq, Tkv, queryOffset }: { Hq: number; Tq: number; Tkv: number; queryOffset: number },
): CompiledScoreMods {
  const compiled: CompiledScoreMods = { softcap: 0 };
  let side: 'before' | 'after' = mods.some(({ kind }) => kind === 'softcap') ? 'before' : 'after';
  for (const mod of mods) {
    if (mod.kind === 'softcap') {
      if (compiled.softcap > 0)
        throw new RangeError(`${op}: scoreMod has two softcaps; expected at most one`);
      compiled.softcap = mod.cap;
      side = 'after';
      continue;
    }
    const { name, given, notation, column, weight } = termOf(op, mod, Hq);
    const isGiven = (given as Tensor)?.dataId !== undefined;
    const parameters = isGiven || !Array.isArray(given) ? (given as Tensor) : tensor1d([...given]);
    checkShapes(op, [[`scoreMod ${mod.kind}: ${name}`, parameters, notation]]);
    const length = Math.max(0, Tq + Tkv - 1);
    const columns = new Int32Array(length);
    const weights = new Float32Array(length);
    for (let i = 0; i < length; i++) {
      const difference = i - (Tkv - 1) + queryOffset;
      columns[i] = column(difference);
      weights[i] = weight(difference);
    }
    const attrs = { heads: Hq, columns, weights, transposed: mod.kind === 't5Bias' };
    compiled[side] = positionTerms(parameters, compiled[side], attrs);
  }
  return compiled;
}
