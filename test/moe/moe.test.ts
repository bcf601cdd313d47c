import {
  concat,
  dispose,
  gather,
  grads,
  memory,
  reshape,
  slice,
  sum,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MOE } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, uniform } from '../../src/catalog/numerics';
import type { Activation, MoeMlpOptions } from '../../src/moe';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

const ints = (values: number[], shape: number[]) => tensor(values, shape, 'int32');
const listOf = (t: Tensor) => Array.from(t.dataSync());

function layer(N: number, D: number, F: number, E: number, activation: Activation = 'swiglu', inOut = false) {
  const gated = activation.includes('glu');
  const F1 = gated ? 2 * F : F;
  const { hidden, gateUp, down, logits } = drawInputs({
    hidden: { shape: [N, D] },
    gateUp: { shape: inOut ? [E, D, F1] : [E, F1, D], scale: D ** -0.5 },
    down: { shape: inOut ? [E, F, D] : [E, D, F], scale: F ** -0.5 },
    logits: { shape: [N, E] },
  });
  return { hidden, gateUp, down, logits, experts: { gateUp, down } };
}

function expectEqual(actual: Tensor, expected: Tensor) {
  const { r, m } = deviation(float64(actual), float64(expected));
  expect(r).toBeLessThanOrEqual(MOE.r);
  expect(m).toBeLessThanOrEqual(MOE.m);
}

describe('topkRouting', () => {
  it('gives ties to the lower index, and takes 0 and -0 for equal', () => {
    const logits = tensor([1, 2, 2, 1, 2, -0, 0, -0, 0, 0], [2, 5]);
    expect(listOf(linnet.topkRouting(logits, { topK: 4 }).indices)).toEqual([1, 2, 4, 0, 0, 1, 2, 3]);
  });

  it('ranks -Infinity after numbers and NaN last, in kernel and reference', () => {
    const inf = Number.POSITIVE_INFINITY;
    const logits = tensor([NaN, -inf, -3e38, NaN, 1, -inf, -inf, -inf, -inf, -inf], [2, 5]);
    for (const ops of [linnet, reference]) {
      for (const normTopkProb of [false, true]) {
        const { weights, indices } = ops.topkRouting(logits, { topK: 5, normTopkProb });
        expect(listOf(indices)).toEqual([4, 2, 1, 0, 3, 0, 1, 2, 3, 4]);
        expect(listOf(weights)).toEqual([NaN, NaN, NaN, NaN, NaN, 0, 0, 0, 0, 0]);
      }
      const { weights } = ops.topkRouting(logits, { topK: 2, softmaxAfterTopK: true });
      expect(listOf(weights)).toEqual([1, 0, 0, 0]);
    }
  });

  it('keeps a NaN in its own row', () => {
    const logits = tensor([NaN, 0, 1, 3, 2, 1], [2, 3]);
    const { weights, indices } = linnet.topkRouting(logits, { topK: 2, normTopkProb: true });
    expect(listOf(indices)).toEqual([2, 1, 0, 1]);
    expect(listOf(weights).slice(2).every(Number.isFinite)).toBe(true);
  });

  it('chooses as the reference does for any size', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        fc.nat(),
        fc.nat(),
        (size, groups, sigmoid, kSeed, seed) => {
          const E = size * groups;
          const { logits, correctionBias } = drawInputs(
            { logits: { shape: [3, E], scale: 2 }, correctionBias: { shape: [E] } },
            seed,
          );
          const topkGroups = 1 + (kSeed % groups);
          const options = {
            topK: 1 + (kSeed % (size * topkGroups)),
            numGroups: groups,
            topkGroups,
            scoring: sigmoid ? ('sigmoid' as const) : ('softmax' as const),
            normTopkProb: kSeed % 2 === 0,
            correctionBias: kSeed % 3 === 0 ? correctionBias : undefined,
          };
          tidy(() => {
            const actual = linnet.topkRouting(logits, options);
            const expected = reference.topkRouting(logits, options);
            expect(listOf(actual.indices)).toEqual(listOf(expected.indices));
            expectEqual(actual.weights, expected.weights);
          });
          dispose([logits, correctionBias]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('finds experts far down a long row', () => {
    const values = Array.from({ length: 2100 }, (_, i) => -i);
    values[2099] = 5;
    values[1024] = 4;
    const { indices } = linnet.topkRouting(tensor(values, [1, 2100]), { topK: 3 });
    expect(listOf(indices)).toEqual([2099, 1024, 0]);
  });

  it.each([
    [{ topK: 0 }, 'topkRouting: topK is 0; expected 1 to 6 (experts that can be chosen)'],
    [
      { topK: 3, numGroups: 3, topkGroups: 1 },
      'topkRouting: topK is 3; expected 1 to 2 (experts that can be chosen)',
    ],
    [{ topK: 1, numGroups: 4 }, 'topkRouting: E = 6 must be a multiple of numGroups = 4'],
    [{ topK: 1, numGroups: 2, topkGroups: 3 }, 'topkRouting: topkGroups is 3; expected 1 to 2 (numGroups)'],
  ])('refuses %j', (options, message) => {
    expect(() => linnet.topkRouting(zeros([2, 6]), options)).toThrow(message);
  });
});

describe('moeMlp', () => {
  it('with every expert chosen equals the dense mixture', () => {
    tidy(() => {
      const { hidden, logits, experts, gateUp, down } = layer(9, 12, 8, 4);
      const routing = linnet.topkRouting(logits, { topK: 4 });
      const p = reference.routingWeights(logits, ints(Array(9).fill([0, 1, 2, 3]).flat(), [9, 4]));
      let dense = zeros([9, 12]);
      for (let e = 0; e < 4; e++) {
        const [w1, w2] = [gateUp, down].map((w) => slice(w, [e, 0, 0], [1, -1, -1]));
        dense = reference.moeMlp(
          hidden,
          { gateUp: w1, down: w2 },
          { weights: slice(p, [0, e], [-1, 1]), indices: zeros([9, 1], 'int32') },
          { residual: dense },
        );
      }
      expectEqual(linnet.moeMlp(hidden, experts, routing), dense);
    });
  });

  it('does not care how experts are numbered', () => {
    tidy(() => {
      const { hidden, logits, gateUp, down } = layer(20, 8, 12, 5);
      const order = [3, 0, 4, 1, 2];
      const permuted = (t: Tensor, axis: number) => gather(t, ints(order, [5]), axis);
      const options = { topK: 2, normTopkProb: true };
      const routing = linnet.topkRouting(logits, options);
      const other = linnet.topkRouting(permuted(logits, 1), options);
      expect(listOf(other.indices).map((e) => order[e])).toEqual(listOf(routing.indices));
      const y = linnet.moeMlp(hidden, { gateUp, down }, routing);
      const z = linnet.moeMlp(hidden, { gateUp: permuted(gateUp, 0), down: permuted(down, 0) }, other);
      expect(listOf(z)).toEqual(listOf(y));
    });
  });

  it.each([
    ['one expert for all tokens', 70, 3, () => 1],
    ['an expert without tokens', 30, 3, (i: number) => (i % 2) * 2],
    ['one token', 1, 4, () => 2],
    ['one expert', 5, 1, () => 0],
    ['no choice at all', 6, 2, () => -1],
    ['a block more than full', 140, 2, (i: number) => Number(i >= 129)],
  ])('%s', (_, N, E, choose) => {
    tidy(() => {
      const { hidden, experts } = layer(N, 20, 12, E);
      const indices = ints(
        Array.from({ length: N }, (_, i) => choose(i)),
        [N, 1],
      );
      const weights = tensor(Array.from({ length: N }, uniform(1)), [N, 1]);
      expectEqual(
        linnet.moeMlp(hidden, experts, { weights, indices }),
        reference.moeMlp(hidden, experts, { weights, indices }),
      );
    });
  });

  it('equals the reference for any sizes, activations and layouts', () => {
    const size = fc.integer({ min: 1, max: 21 });
    const activations: Activation[] = [
      'swiglu',
      'geglu',
      'gegluTanh',
      'reglu',
      'swigluOss',
      'silu',
      'gelu',
      'geluTanh',
      'relu',
      'identity',
    ];
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 40 }),
        size,
        size,
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(...activations),
        fc.boolean(),
        fc.boolean(),
        (N, D, F, E, activation, inOut, interleaved) => {
          const { hidden, experts, logits } = layer(N, D, F, E, activation, inOut);
          const options: MoeMlpOptions = { activation, layout: inOut ? 'inOut' : 'outIn', interleaved };
          tidy(() => {
            const routing = linnet.topkRouting(logits, { topK: Math.min(2, E) });
            const expected = float64(reference.moeMlp(hidden, experts, routing, options));
            const actual = float64(linnet.moeMlp(hidden, experts, routing, options));
            // two experts may cancel, which no float32 sum survives: the error is measured against their sizes
            const sizes = new Float64Array(expected.length);
            for (let slot = 0; slot < Math.min(2, E); slot++) {
              const [weights, indices] = [routing.weights, routing.indices].map((t) =>
                slice(t, [0, slot], [N, 1]),
              );
              const alone = float64(reference.moeMlp(hidden, experts, { weights, indices }, options));
              alone.forEach((y, i) => {
                sizes[i] += Math.abs(y);
              });
            }
            const errors = actual.map((y, i) => sizes[i] + Math.abs(y - expected[i]));
            const { r, m } = deviation(errors, sizes);
            expect(r).toBeLessThanOrEqual(MOE.r);
            expect(m).toBeLessThanOrEqual(MOE.m);
          });
          dispose([hidden, logits, experts.gateUp, experts.down]);
        },
      ),
      { numRuns: 80 },
    );
  });

  it('works through hidden features in chunks', () => {
    for (const inOut of [false, true]) {
      tidy(() => {
        const { hidden, experts, logits } = layer(19, 6, 263, 2, 'swiglu', inOut);
        const routing = linnet.topkRouting(logits, { topK: 1 });
        const layout = inOut ? 'inOut' : 'outIn';
        expectEqual(
          linnet.moeMlp(hidden, experts, routing, { layout }),
          reference.moeMlp(hidden, experts, routing, { layout }),
        );
      });
    }
  });

  it('reads the weights of chosen experts only, and keeps a NaN in its own token', () => {
    tidy(() => {
      const { gateUp, down } = layer(6, 8, 4, 3);
      const poison = (t: Tensor) =>
        tensor(
          listOf(t).map((x, i) => (i < t.size / 3 ? NaN : x)),
          t.shape,
        );
      const hidden = tensor(
        Array.from({ length: 48 }, (_, i) => (i === 17 ? NaN : i / 48)),
        [6, 8],
      );
      const routing = {
        weights: tensor(Array(6).fill(1), [6, 1]),
        indices: ints([1, 2, 2, 2, 1, 2], [6, 1]),
      };
      const y = listOf(linnet.moeMlp(hidden, { gateUp: poison(gateUp), down: poison(down) }, routing));
      y.forEach((value, i) => {
        expect(Number.isNaN(value), `${i}`).toBe(Math.floor(i / 8) === 2);
      });
    });
  });

  it('gives the same bits every time', () => {
    tidy(() => {
      const { hidden, experts, logits } = layer(100, 24, 40, 4);
      const run = () => listOf(linnet.moeMlp(hidden, experts, linnet.topkRouting(logits, { topK: 3 })));
      expect(run()).toEqual(run());
    });
  });

  it('leaves nothing behind', () => {
    const { hidden, experts, logits, gateUp, down } = layer(10, 8, 4, 3);
    const shared = { gateUp: zeros([8, 8]), down: zeros([8, 4]) };
    const routing = linnet.topkRouting(logits, { topK: 1 });
    const before = memory();
    for (let i = 0; i < 1000; i++) linnet.moeMlp(hidden, experts, routing, { shared }).dispose();
    expect(memory().numTensors).toBe(before.numTensors);
    expect(memory().numBytes).toBe(before.numBytes);
    dispose([hidden, gateUp, down, logits, ...Object.values(shared), routing.weights, routing.indices]);
  });

  it('refuses indices that name nothing, before it runs', () => {
    const { hidden, experts } = layer(2, 4, 4, 3);
    const weights = zeros([2, 1]);
    const call = (values: number[]) => () => {
      linnet.moeMlp(hidden, experts, { weights, indices: ints(values, [2, 1]) });
    };
    expect(call([0, 3])).toThrow('moeMlp: indices[1] is 3; expected -1 to 2 (3 experts, -1 for none)');
    expect(call([-2, 0])).toThrow('moeMlp: indices[0] is -2; expected -1 to 2 (3 experts, -1 for none)');
    const tokens = ints([0, 1, 2], [3, 1]);
    expect(() => linnet.moeMlp(hidden, experts, { weights: zeros([3, 1]), tokens })).toThrow(
      'moeMlp: tokens[2] is 2; expected -1 to 1 (2 tokens, -1 for none)',
    );
  });

  it('refuses widths that do not fit the activation', () => {
    const { hidden, experts } = layer(2, 4, 4, 3);
    const routing = { weights: zeros([2, 1]), indices: zeros([2, 1], 'int32') };
    expect(() => linnet.moeMlp(hidden, experts, routing, { activation: 'relu' })).toThrow(
      'moeMlp: gateUp has 8 features; expected 4 (F, F = 4 from down)',
    );
  });
});

describe('groupedMatMul', () => {
  it.each([false, true])('adds long products up in parts, transposeWeights %s', (transposeWeights) => {
    const [sizes, D, F] = [[9, 0, 20], 600, 21];
    tidy(() => {
      const { x, weights } = drawInputs({
        x: { shape: [29, D] },
        weights: { shape: transposeWeights ? [3, F, D] : [3, D, F] },
      });
      expectEqual(
        linnet.groupedMatMul(x, weights, sizes, { transposeWeights }),
        reference.groupedMatMul(x, weights, ints(sizes, [3]), { transposeWeights }),
      );
    });
  });

  it('equals the reference for any groups', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 23 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 37 }),
        fc.integer({ min: 1, max: 37 }),
        fc.boolean(),
        (sizes, D, F, transposeWeights) => {
          const E = sizes.length;
          const S = sizes.reduce((a, b) => a + b, 0);
          const { x, weights } = drawInputs({
            x: { shape: [S, D] },
            weights: { shape: transposeWeights ? [E, F, D] : [E, D, F] },
          });
          tidy(() => {
            expectEqual(
              linnet.groupedMatMul(x, weights, sizes, { transposeWeights }),
              reference.groupedMatMul(x, weights, ints(sizes, [E]), { transposeWeights }),
            );
          });
          dispose([x, weights]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each([
    [0, 3],
    [5, 0],
    [0, 0],
  ])('of inputs %i wide and results %i wide, bias alone or nothing, with gradients', (D, F) => {
    tidy(() => {
      const sizes = [5, 0, 1];
      const t = drawInputs({
        x: { shape: [6, D] },
        weights: { shape: [3, D, F] },
        bias: { shape: [3, F] },
        dy: { shape: [6, F] },
      });
      for (const transposeWeights of [false, true]) {
        const weights = transposeWeights ? reshape(t.weights, [3, F, D]) : t.weights;
        for (const ops of [linnet, reference]) {
          const call = (x: Tensor, w: Tensor, bias: Tensor) =>
            ops.groupedMatMul(x, w, sizes, { bias, transposeWeights });
          const y = call(t.x, weights, t.bias);
          expect(y.shape).toEqual([6, F]);
          const rows = [0, 0, 0, 0, 0, 2].map((e) => listOf(slice(t.bias, [e, 0], [1, F])));
          if (D === 0) expect(listOf(y)).toEqual(rows.flat());
          const [dx, dw, db] = grads(call)([t.x, weights, t.bias], t.dy);
          expect([dx.shape, dw.shape, db.shape]).toEqual([t.x.shape, weights.shape, t.bias.shape]);
          expect(listOf(dx)).toEqual(listOf(zeros([6, D])));
          if (D === 0) {
            expectEqual(slice(db, [0, 0], [1, F]), sum(slice(t.dy, 0, 5), 0, true));
            expectEqual(slice(db, [1, 0]), concat([zeros([1, F]), slice(t.dy, 5)]));
          }
        }
      }
    });
  });

  it('refuses sizes that do not add up', () => {
    const call = (sizes: number[]) => () => linnet.groupedMatMul(zeros([4, 2]), zeros([2, 2, 3]), sizes);
    expect(call([1, 2])).toThrow('groupedMatMul: groupSizes sum to 3; expected 4 (rows of x)');
    expect(call([4])).toThrow('groupedMatMul: groupSizes has 1 sizes; expected 2 (E from weights)');
    expect(call([5, -1])).toThrow('groupedMatMul: groupSizes[1] is -1; expected a count of rows');
  });
});
