import type { Tensor } from '@tensorflow/tfjs-core';
import { tidied } from '../op/tidied';
import { checkFinite, checkMultiple, checkShapes } from '../tensor/shape';
import { blockAttention } from './blockAttention';
import { BlockMask } from './blockMask';
import { compileScoreMods } from './compileScoreMods';
import { full } from './masks';
import type { ScoreMod } from './scoreMods';

export interface FlexAttentionOptions {
  /** Which keys each query sees; default all. */
  blockMask?: BlockMask;
  /** What changes the scaled scores, in order: one of `scoreMods`, or several with at most one softcap. */
  scoreMod?: ScoreMod | readonly ScoreMod[];
  /** Default `D ** -0.5`. */
  scale?: number;
  /** Return `{ output, lse }`, lse the log sum exp of each row. */
  returnLse?: boolean;
}

export interface FlexAttentionResult {
  /** `[B, Tq, Hq, Dv]` */
  output: Tensor;
  /** `[B, Tq, Hq]` */
  lse: Tensor;
}

const NAME = 'flexAttention';

function checkMask({ table }: BlockMask, sizes: Record<'B' | 'Tq' | 'Tkv' | 'Hq' | 'Hkv', number>): void {
  for (const [name, of] of [
    ['Tq', 'q'],
    ['Tkv', 'k'],
  ] as const) {
    if (table[name] !== sizes[name]) {
      throw new RangeError(
        `${NAME}: blockMask has ${name} = ${table[name]}; expected ${sizes[name]} from ${of}`,
      );
    }
  }
  if (table.B !== 1 && table.B !== sizes.B) {
    throw new RangeError(`${NAME}: blockMask has B = ${table.B}; expected 1 or ${sizes.B} from q`);
  }
  const { Hq, Hkv } = sizes;
  if (table.H === 0 || Hq % table.H !== 0 || (Hkv % table.H !== 0 && table.H % Hkv !== 0)) {
    throw new RangeError(
      `${NAME}: blockMask has H = ${table.H}; expected 1, Hkv = ${Hkv}, Hq = ${Hq} or a number of heads between that divides them`,
    );
  }
}

/**
 * Softmax attention over the blocks of a mask: `output = softmax(mod(scale q k^T)) v`, each query over the keys its mask
 * lets it see. Work and time are proportional to the blocks kept; full blocks need no mask.
 *
 * A query that sees no key gives zeros and lse -Infinity. Heads are grouped when Hq is a multiple of Hkv. Differentiable
 * in q, k, v and the tensors of score modifications, through output and lse.
 *
 * @param q `[B, Tq, Hq, D]`
 * @param k `[B, Tkv, Hkv, D]`
 * @param v `[B, Tkv, Hkv, Dv]`
 * @returns `[B, Tq, Hq, Dv]`, or `{ output, lse }` with `returnLse: true`
 * @throws TypeError, RangeError naming the argument, what came and what was expected
 * @see Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { flexAttention, masks, ready, scoreMods } from 'linnet';
 *
 * await ready();
 * const q = randomNormal([1, 128, 4, 32]);
 * const k = randomNormal([1, 128, 2, 32]);
 * const v = randomNormal([1, 128, 2, 32]);
 * const blockMask = masks.slidingWindow({ Tq: 128, window: 48, blockSize: 32 });
 * const output = flexAttention(q, k, v, { blockMask, scoreMod: scoreMods.softcap(30) }); // [1, 128, 4, 32]
 * ```
 */
export function flexAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FlexAttentionOptions & { returnLse: true },
): FlexAttentionResult;
export function flexAttention(q: Tensor, k: Tensor, v: Tensor, options?: FlexAttentionOptions): Tensor;
export function flexAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FlexAttentionOptions = {},
): Tensor | FlexAttentionResult {
  const sizes = checkShapes(NAME, [
    ['q', q, 'B Tq Hq D'],
    ['k', k, 'B Tkv Hkv D'],
    ['v', v, 'B Tkv Hkv Dv'],
  ]);
  checkMultiple(NAME, 'Hq', sizes.Hq, 'Hkv', sizes.Hkv);
  const scale = options.scale ?? sizes.D ** -0.5;
  checkFinite(NAME, 'scale', scale);
  const { Tq, Tkv } = sizes;
  if (options.blockMask !== undefined && !(options.blockMask instanceof BlockMask)) {
    throw new TypeError(`${NAME}: blockMask must be a BlockMask, as createBlockMask makes one`);
  }
  const mask = options.blockMask ?? full({ Tq, Tkv });
  checkMask(mask, sizes);
  const { table, queryOffset } = mask;
  const mods = options.scoreMod === undefined ? [] : [options.scoreMod].flat();
  return tidied(() => {
    const { softcap, before, after } = compileScoreMods(NAME, mods as ScoreMod[], { ...sizes, queryOffset });
    const [output, lse] = blockAttention.run({ q, k, v, before, after }, { table, scale, softcap });
    return options.returnLse ? { output, lse } : output;
  });
}
