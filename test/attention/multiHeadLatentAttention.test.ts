import { readFileSync } from 'node:fs';
import * as tfjs from '@tensorflow/tfjs-core';
import {
  concat,
  grads,
  ones,
  reshape,
  slice,
  type Tensor,
  tensor,
  tidy,
  tile,
  zeros,
} from '@tensorflow/tfjs-core';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SOFTMAX_ATTENTION } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, gradientsOf } from '../../src/catalog/numerics';
import type { Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

type Options = Parameters<typeof linnet.multiHeadLatentAttention>[5];

interface Sizes {
  B?: number;
  Tq?: number;
  Tk?: number;
  H?: number;
  Dn?: number;
  Dr?: number;
  Dv?: number;
  C?: number;
}

function inputs({ B = 1, Tq = 9, Tk = 9, H = 2, Dn = 4, Dr = 2, Dv = 3, C = 8 }: Sizes) {
  return {
    qNope: { shape: [B, Tq, H, Dn] },
    qRope: { shape: [B, Tq, H, Dr] },
    latent: { shape: [B, Tk, C] },
    kRope: { shape: [B, Tk, Dr] },
    kvUp: { shape: [H, Dn + Dv, C], scale: C ** -0.5 },
  };
}

function attend(
  { qNope, qRope, latent, kRope, kvUp }: Tensors,
  options?: Options,
  ops: Pick<typeof linnet, 'multiHeadLatentAttention'> = linnet,
) {
  return ops.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp, options);
}

function expectClose(actual: Tensor, expected: Tensor) {
  expect(actual.shape).toEqual(expected.shape);
  expect(deviation(float64(actual), float64(expected)).r).toBeLessThanOrEqual(SOFTMAX_ATTENTION.r);
}

const rows = (x: Tensor, from: number, count: number) =>
  slice(x, [0, from, ...x.shape.slice(2).map(() => 0)], [x.shape[0], count, ...x.shape.slice(2)]);

describe('multiHeadLatentAttention', () => {
  it('equals its reference in both forms, outputs and gradients, for any sizes', () => {
    const size = (min: number, max: number) => fc.integer({ min, max });
    fc.assert(
      fc.property(
        fc.record({
          B: size(1, 2),
          Tq: size(0, 12),
          Tk: size(0, 20),
          H: size(1, 5),
          Dn: size(1, 9),
          Dr: size(0, 6),
          Dv: size(1, 9),
          C: size(1, 17),
        }),
        fc.boolean(),
        (sizes, isCausal) => {
          tidy(() => {
            const given = inputs(sizes);
            const x = drawInputs(given);
            const expected = attend(x, { isCausal }, reference);
            const gradients = [false, true].map((absorb) => {
              expectClose(attend(x, { isCausal, absorb }), expected);
              return gradientsOf({ id: '', inputs: given, call: () => x.qNope }, x, (t) =>
                attend(t, { isCausal, absorb }),
              );
            });
            const theirs = gradientsOf({ id: '', inputs: given, call: () => x.qNope }, x, (t) =>
              attend(t, { isCausal }, reference),
            );
            for (const name of Object.keys(given)) {
              for (const mine of gradients) {
                // of a single visible key the gradient of the scores is rounding and nothing else
                const largest = Math.max(0, ...theirs[name].map(Math.abs));
                if (largest < 1e-6) expect(Math.max(0, ...mine[name].map(Math.abs))).toBeLessThan(1e-5);
                else
                  expect(deviation(mine[name], theirs[name]).r, name).toBeLessThanOrEqual(
                    SOFTMAX_ATTENTION.gradient,
                  );
              }
            }
          });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is attention over keys and values that are expanded by hand', () => {
    tidy(() => {
      const [H, Dn] = [3, 4];
      const x = drawInputs(inputs({ B: 2, Tq: 5, Tk: 150, H }));
      const [B, Tk, C] = x.latent.shape as [number, number, number];
      const N = x.kvUp.shape[1]!;
      const weights = reshape(x.kvUp, [1, H * N, C]);
      const tokens = reshape(x.latent, [B * Tk, C]);
      const flat = linnet.groupedMatMul(tokens, weights, [B * Tk], { transposeWeights: true });
      const kv = reshape(flat, [B, Tk, H, N]);
      const shared = tile(reshape(x.kRope, [B, Tk, 1, 2]), [1, 1, H, 1]);
      const k = concat([slice(kv, [0, 0, 0, 0], [B, Tk, H, Dn]), shared], 3);
      const v = slice(kv, [0, 0, 0, Dn], [B, Tk, H, N - Dn]);
      const q = concat([x.qNope, x.qRope], 3);
      const expected = linnet.scaledDotProductAttention(q, k, v, { isCausal: true });
      for (const absorb of [false, true, 'auto'] as const)
        expectClose(attend(x, { isCausal: true, absorb }), expected);
    });
  });

  it('token by token over cached latents is the whole', () => {
    tidy(() => {
      const T = 20;
      const x = drawInputs(inputs({ B: 2, Tq: T, Tk: T }));
      const whole = attend(x, { isCausal: true });
      for (const [from, count] of [
        [0, 1],
        [7, 1],
        [7, 13],
        [19, 1],
      ]) {
        const part = {
          kvUp: x.kvUp,
          qNope: rows(x.qNope, from, count),
          qRope: rows(x.qRope, from, count),
        };
        const end = from + count;
        const cut = { ...part, latent: rows(x.latent, 0, end), kRope: rows(x.kRope, 0, end) };
        const expected = rows(whole, from, count);
        expectClose(attend(cut, { isCausal: true }), expected);
        // the same in a cache with room left
        const all = { ...part, latent: x.latent, kRope: x.kRope };
        expectClose(attend(all, { isCausal: true, queryOffset: from, kvLengths: [end, end] }), expected);
      }
    });
  });

  it('chooses the cheaper form', () => {
    tidy(() => {
      const bits = (x: Tensor) => [...x.dataSync()];
      const both = (sizes: Sizes) => {
        const x = drawInputs(inputs({ C: 32, Dn: 8, Dr: 4, Dv: 8, ...sizes }));
        return ['auto' as const, true, false].map((absorb) => bits(attend(x, { absorb })));
      };
      const [decode, absorbed, expanded] = both({ Tq: 1, Tk: 60 });
      expect(absorbed).not.toEqual(expanded);
      expect(decode).toEqual(absorbed);
      const [prefill, , whole] = both({ Tq: 60, Tk: 60 });
      expect(prefill).toEqual(whole);
    });
  });

  it('keeps what is hidden out of the output', () => {
    tidy(() => {
      const x = drawInputs(inputs({ Tq: 2, Tk: 6 }));
      const hidden = tensor(
        [1, 1, 1, 1, 1, Number.NaN].flatMap((value) => Array(8).fill(value)),
        [1, 6, 8],
      );
      for (const absorb of [false, true]) {
        const options = { absorb, kvLengths: [5] };
        const clean = attend({ ...x, latent: ones([1, 6, 8]) }, options);
        expectClose(attend({ ...x, latent: hidden }, options), clean);
        const none = attend({ ...x, latent: hidden }, { absorb, kvLengths: [0] });
        expect([...none.dataSync()].every((value) => value === 0)).toBe(true);
      }
    });
  });

  it('without keys or queries gives zeros and zero gradients', () => {
    tidy(() => {
      for (const sizes of [
        { Tq: 0, Tk: 0 },
        { Tq: 0, Tk: 4 },
        { Tq: 3, Tk: 0 },
      ]) {
        const { qNope, qRope, latent, kRope, kvUp } = drawInputs(inputs(sizes));
        const all = [qNope, qRope, latent, kRope, kvUp];
        const output = linnet.multiHeadLatentAttention(qNope, qRope, latent, kRope, kvUp);
        expect(output.shape).toEqual([1, sizes.Tq, 2, 3]);
        const run = (...x: Tensor[]) => linnet.multiHeadLatentAttention(x[0], x[1], x[2], x[3], x[4]);
        for (const x of [output, ...grads(run)(all, zeros(output.shape))])
          expect([...x.dataSync()].every((value) => value === 0)).toBe(true);
      }
    });
  });

  it('says what it expects', () => {
    tidy(() => {
      const x = drawInputs(inputs({ Tq: 3, Tk: 5 }));
      const name = 'multiHeadLatentAttention';
      expect(() => attend({ ...x, kRope: zeros([1, 4, 2]) })).toThrow(
        `${name}: kRope has shape [1,4,2]; expected [B, Tk, Dr] = [1,5,2] (B from qNope, Tk from latent, Dr from qRope)`,
      );
      expect(() => attend({ ...x, kvUp: zeros([2, 7, 9]) })).toThrow(
        `${name}: kvUp has shape [2,7,9]; expected [H, Dn+Dv, C] = [2,7,8] (H from qNope, C from latent)`,
      );
      expect(() => attend({ ...x, kvUp: zeros([2, 3, 8]) })).toThrow(
        `${name}: kvUp has shape [2,3,8]; expected [H, Dn + Dv, C] with Dn = 4 from qNope`,
      );
      expect(() => attend(x, { mask: zeros([4, 5], 'bool') })).toThrow(
        `${name}: mask has shape [4,5]; expected [Tq|1, Tk|1] = [3|1,5|1] (Tq from qNope, Tk from latent)`,
      );
      expect(() => attend(x, { scale: Number.NaN })).toThrow(
        `${name}: scale must be a finite number; got NaN`,
      );
      expect(() => attend(x, { kvLengths: [6] })).toThrow(
        `${name}: kvLengths is [6]; expected B = 1 lengths from 0 to Tk = 5`,
      );
    });
  });
});

const docs = readFileSync(new URL('../../docs/attention.md', import.meta.url), 'utf8');

/** What the example below a heading computes as `output` from given tensors and sizes in place of its own. */
function runExample(heading: string, given: Readonly<Record<string, Tensor | number>>): Tensor {
  const section = docs.slice(docs.indexOf(`### ${heading}`));
  const [, source] = /```ts\n([\s\S]*?)```/.exec(section)!;
  const body = source
    .replace(/^(import|await) .*$/gm, '')
    .replace(/^const \[?(\w+).*$/gm, (line, name) => (name in given ? '' : line));
  const scope = { ...tfjs, ...linnet, ...given };
  const names = [...Object.keys(given), 'concat', 'reshape', 'slice', 'tile', 'randomNormal'];
  const ops = ['multiHeadLatentAttention', 'scaledDotProductAttention'];
  return new Function(`{ ${[...names, ...ops].join()} }`, `${body}; return output;`)(scope);
}

describe('uses shown in docs/attention.md', () => {
  it('grouped-latent attention: heads see the latents of their group', () => {
    tidy(() => {
      const [B, Tk, G, C] = [2, 6, 2, 8];
      const { latent, ...x } = drawInputs(inputs({ B, Tq: 6, Tk: G * Tk, H: 4 }));
      const latents = reshape(latent, [B, Tk, G, C]);
      const kRope = rows(x.kRope, 0, Tk);
      const output = runExample('Grouped-latent attention', { ...x, latents, kRope, B, Tk, G, C });
      expect(output.shape).toEqual([B, 6, 4, 3]);
      for (let h = 0; h < 4; h++) {
        const head = (q: Tensor) => slice(q, [0, 0, h, 0], [-1, -1, 1, -1]);
        const own = reshape(slice(latents, [0, 0, Math.floor(h / 2), 0], [-1, -1, 1, -1]), [B, Tk, C]);
        const alone = attend(
          {
            qNope: head(x.qNope),
            qRope: head(x.qRope),
            latent: own,
            kRope,
            kvUp: slice(x.kvUp, [h, 0, 0], [1, -1, -1]),
          },
          { isCausal: true },
          reference,
        );
        expectClose(head(output), alone);
      }
    });
  });

  it('grouped-tied attention: the value is the key where it carries no positions', () => {
    tidy(() => {
      const [T, H, G, D] = [5, 4, 2, 6];
      const x = drawInputs({
        q: { shape: [1, T, H, D] },
        tied: { shape: [1, T, G, D] },
        kRope: { shape: [1, T, 1, D / 2] },
      });
      const output = runExample('Grouped-tied attention', { ...x, G, D }).dataSync();
      const { q, tied, kRope } = { q: float64(x.q), tied: float64(x.tied), kRope: float64(x.kRope) };
      const expected = new Float64Array(T * H * D);
      for (let i = 0; i < T; i++) {
        for (let h = 0; h < H; h++) {
          const own = (j: number, d: number) => tied[(j * G + Math.floor((h * G) / H)) * D + d];
          const key = (j: number, d: number) => (d < D / 2 ? own(j, d) : kRope[(j * D) / 2 + d - D / 2]);
          const weights = Array.from({ length: i + 1 }, (_, j) => {
            let score = 0;
            for (let d = 0; d < D; d++) score += q[(i * H + h) * D + d] * key(j, d);
            return Math.exp(score * D ** -0.5);
          });
          const sum = weights.reduce((a, b) => a + b);
          weights.forEach((weight, j) => {
            for (let d = 0; d < D; d++) expected[(i * H + h) * D + d] += (weight / sum) * own(j, d);
          });
        }
      }
      expect(deviation(output, expected).r).toBeLessThanOrEqual(SOFTMAX_ATTENTION.r);
    });
  });
});
