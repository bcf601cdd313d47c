import { ones, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MOE } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64, uniform } from '../../src/catalog/numerics';
import { balancedAssignment } from '../../src/moe/balancedAssignment';
import { routingStats } from '../../src/moe/tools';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

const listOf = (t: Tensor) => Array.from(t.dataSync());
const ints = (values: number[], shape: number[]) => tensor(values, shape, 'int32');

describe('switchRouting', () => {
  const logits = tensor([5, 0, 4, 0, 3, 0, 0, 2], [4, 2]);

  it('drops the later tokens of an expert that is full', () => {
    expect(listOf(linnet.switchRouting(logits, { capacity: 2 }).indices)).toEqual([0, 0, -1, 1]);
    expect(listOf(linnet.switchRouting(logits, { capacityFactor: 1 }).indices)).toEqual([0, 0, -1, 1]);
    expect(listOf(linnet.switchRouting(logits).indices)).toEqual([0, 0, 0, 1]);
  });

  it('with capacity 0 drops everything', () => {
    const { weights, indices } = linnet.switchRouting(logits, { capacity: 0 });
    expect(listOf(indices)).toEqual([-1, -1, -1, -1]);
    expect(listOf(weights)).toEqual([0, 0, 0, 0]);
    const { hidden, gateUp, down } = drawInputs({
      hidden: { shape: [4, 3] },
      gateUp: { shape: [2, 4, 3] },
      down: { shape: [2, 3, 2] },
    });
    expect(listOf(linnet.moeMlp(hidden, { gateUp, down }, { weights, indices }))).toEqual(Array(12).fill(0));
  });

  it('counts each sequence by itself', () => {
    const twice = tensor([5, 0, 4, 0, 5, 0, 4, 0], [2, 2, 2]);
    expect(listOf(linnet.switchRouting(twice, { capacity: 1 }).indices)).toEqual([0, -1, 0, -1]);
  });
});

it('expertChoiceRouting gives ties to the lower token and every expert its capacity', () => {
  const { weights, tokens } = linnet.expertChoiceRouting(zeros([5, 2]), { capacity: 3 });
  expect(listOf(tokens)).toEqual([0, 1, 2, 0, 1, 2]);
  expect(listOf(weights)).toEqual(Array(6).fill(0.5));
  expect(() => linnet.expertChoiceRouting(zeros([5, 2]), { capacity: 6 })).toThrow(
    'expertChoiceRouting: capacity is 6; expected 0 to 5 (tokens)',
  );
});

it('expertChoiceRouting looks through many tokens', () => {
  const { logits } = drawInputs({ logits: { shape: [1500, 3] } });
  const actual = linnet.expertChoiceRouting(logits, { capacity: 40 });
  expect(listOf(actual.tokens)).toEqual(
    listOf(reference.expertChoiceRouting(logits, { capacity: 40 }).tokens),
  );
});

it('topPRouting takes the fewest experts whose probabilities reach topP', () => {
  const logits = tensor([0.5, 0.3, 0.2, 0.9, 0.05, 0.05].map(Math.log), [2, 3]);
  const { weights, indices } = linnet.topPRouting(logits, { topP: 0.75 });
  expect(listOf(indices)).toEqual([0, 1, -1, 0, -1, -1]);
  expect(deviation(listOf(weights), [0.5, 0.3, 0, 0.9, 0, 0]).m).toBeLessThan(1e-6);
});

describe('hashRouting', () => {
  it('spreads ids, repeats itself and chooses distinct experts', () => {
    const ids = ints(
      Array.from({ length: 6000 }, (_, i) => i),
      [6000],
    );
    const { indices } = linnet.hashRouting(ids, { numExperts: 6, topK: 3 });
    const { load } = routingStats(indices, 6);
    for (const count of load) expect(Math.abs(count / 3000 - 1)).toBeLessThan(0.1);
    const rows = indices.arraySync() as number[][];
    for (const row of rows) expect(new Set(row).size).toBe(3);
    expect(listOf(linnet.hashRouting(ids, { numExperts: 6, topK: 3 }).indices)).toEqual(listOf(indices));
    expect(listOf(linnet.hashRouting(ids, { numExperts: 6, topK: 3, seed: 1 }).indices)).not.toEqual(
      listOf(indices),
    );
  });
});

describe('balanced assignment', () => {
  /** The greatest sum by trying everything. */
  function bruteForce(scores: number[], E: number, row = 0, load = Array<number>(E).fill(0)): number {
    const N = scores.length / E;
    if (row === N) return 0;
    let best = Number.NEGATIVE_INFINITY;
    for (let e = 0; e < E; e++) {
      if (load[e] === Math.ceil(N / E)) continue;
      load[e]++;
      best = Math.max(best, scores[row * E + e] + bruteForce(scores, E, row + 1, load));
      load[e]--;
    }
    return best;
  }

  it('is the best there is', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 4 }), fc.nat(), (N, E, seed) => {
        const random = uniform(seed);
        const scores = Array.from({ length: N * E }, () => Math.round(20 * random()) / 4);
        const chosen = balancedAssignment(scores, E);
        const sum = Array.from(chosen).reduce((total, e, n) => total + scores[n * E + e], 0);
        expect(sum).toBeCloseTo(bruteForce(scores, E), 9);
        const load = Array.from({ length: E }, (_, e) => chosen.filter((c) => c === e).length);
        expect(Math.max(...load)).toBeLessThanOrEqual(Math.ceil(N / E));
      }),
      { numRuns: 150 },
    );
  });

  it('gives every expert the same number of tokens', () => {
    const { logits } = drawInputs({ logits: { shape: [256, 8] } });
    expect(routingStats(linnet.baseRouting(logits).indices, 8).load).toEqual(Array(8).fill(32));
  });

  it('refuses what cannot be added up', () => {
    expect(() => linnet.baseRouting(tensor([1, NaN], [1, 2]))).toThrow(
      'baseRouting: logits[1] is NaN; expected a finite number',
    );
  });
});

it('sinkhornRouting spreads what the logits alone would pile up', () => {
  const { logits } = drawInputs({ logits: { shape: [400, 4] } });
  const biased = tensor(
    listOf(logits).map((x, i) => (i % 4 === 2 ? x + 3 : x)),
    [400, 4],
  );
  const plain = routingStats(linnet.topkRouting(biased, { topK: 1 }).indices, 4);
  const balanced = routingStats(linnet.sinkhornRouting(biased).indices, 4);
  expect(plain.maxViolation).toBeGreaterThan(2);
  expect(balanced.maxViolation).toBeLessThan(0.35);
});

it('productKeyRouting finds the best of all pairs', () => {
  const { a, b } = drawInputs({ a: { shape: [30, 40] }, b: { shape: [30, 40] } });
  const actual = linnet.productKeyRouting(a, b, { topK: 16 });
  const expected = reference.productKeyRouting(a, b, { topK: 16 });
  expect(listOf(actual.indices)).toEqual(listOf(expected.indices));
  expect(deviation(float64(actual.weights), float64(expected.weights)).r).toBeLessThanOrEqual(MOE.r);
});

it('softMoe with linear experts that are all the identity mixes convex combinations', () => {
  const { hidden, phi } = drawInputs({ hidden: { shape: [2, 9, 4] }, phi: { shape: [4, 3, 2] } });
  const constant = ones([2, 9, 4]);
  const y = linnet.softMoe(constant, phi, (slots) => slots.clone());
  expect(deviation(listOf(y), Array(72).fill(1)).m).toBeLessThan(1e-6);
  expect(() => linnet.softMoe(hidden, phi, () => zeros([3, 4]))).toThrow(
    'softMoe: experts(...) has shape [3,4]; expected [12, M]',
  );
});

describe('mixtureOfDepths', () => {
  const { hidden, weights } = drawInputs({ hidden: { shape: [2, 6, 3] }, weights: { shape: [2, 6] } });

  it('with all tokens chosen is the block on all, with none the identity', () => {
    tidy(() => {
      const all = linnet.mixtureOfDepths(hidden, weights, (x) => x.clone(), { capacity: 6 });
      const w = listOf(weights);
      const expected = listOf(hidden).map((x, i) => x * (1 + w[Math.floor(i / 3)]));
      expect(deviation(listOf(all), expected).m).toBeLessThan(1e-6);
      const none = linnet.mixtureOfDepths(hidden, weights, (x) => x.clone(), { capacity: 0 });
      expect(listOf(none)).toEqual(listOf(hidden));
    });
  });

  it('hands the chosen over in their order, with their positions', () => {
    const scores = tensor([0, 5, 1, 9, 2, NaN, 7, 7, 7, 0, 0, 0], [2, 6]);
    linnet.mixtureOfDepths(
      hidden,
      scores,
      (x, positions) => {
        expect(listOf(positions)).toEqual([1, 3, 0, 1]);
        return x.clone();
      },
      { capacity: 2 },
    );
  });
});

it('mixtureOfHeads with every head at weight 1 changes nothing', () => {
  const { heads } = drawInputs({ heads: { shape: [3, 4, 5] } });
  const indices = ints([0, 1, 2, 3, 3, 2, 1, 0, 2, 0, 1, 3], [3, 4]);
  expect(listOf(linnet.mixtureOfHeads(heads, { weights: ones([3, 4]), indices }))).toEqual(listOf(heads));
});

it('gatherTokens gives nothing but zeros for -1', () => {
  expect(listOf(linnet.gatherTokens(ones([2, 3]), ints([-1, 1], [2])))).toEqual([0, 0, 0, 1, 1, 1]);
});

it('zeroComputationExperts leaves the experts that compute to moeMlp', () => {
  const { hidden } = drawInputs({ hidden: { shape: [2, 3] } });
  const routing = { weights: ones([2, 2]), indices: ints([0, 3, 4, 2], [2, 2]) };
  const result = linnet.zeroComputationExperts(hidden, routing, { numExperts: 3, numZero: 1, numCopy: 1 });
  expect(listOf(result.routing.indices)).toEqual([0, -1, -1, 2]);
  expect(listOf(result.output)).toEqual([0, 0, 0, ...listOf(hidden).slice(3)]);
});

describe('balance', () => {
  it('losses are least when even, and count a -1 for nothing', () => {
    const even = ints([0, 1, 2, 3], [4, 1]);
    expect(linnet.loadBalancingLoss(zeros([4, 4]), even).dataSync()[0]).toBeCloseTo(1, 6);
    const none = ints([-1, -1, -1, -1], [4, 1]);
    expect(linnet.loadBalancingLoss(zeros([4, 4]), none).dataSync()[0]).toBe(0);
  });

  it('global counts of the same batch give the same loss', () => {
    const { logits } = drawInputs({ logits: { shape: [12, 4] } });
    const { indices } = linnet.topkRouting(logits, { topK: 2 });
    const counts = ints(routingStats(indices, 4).load, [4]);
    const local = linnet.loadBalancingLoss(logits, indices).dataSync()[0];
    expect(linnet.globalBatchBalanceLoss(logits, counts, 12).dataSync()[0]).toBeCloseTo(local, 6);
  });

  it('the bias update evens out a biased router', () => {
    const { logits } = drawInputs({ logits: { shape: [512, 8] } });
    const skewed = tensor(
      listOf(logits).map((x, i) => x + (i % 8) / 4),
      [512, 8],
    );
    let bias: Tensor = zeros([8]);
    const loads = () => {
      const options = { topK: 2, scoring: 'sigmoid' as const, correctionBias: bias };
      return routingStats(linnet.topkRouting(skewed, options).indices, 8);
    };
    const before = loads().maxViolation;
    for (let step = 0; step < 200; step++)
      bias = linnet.updateRouterBias(bias, ints(loads().load, [8]), 0.005);
    expect(before).toBeGreaterThan(0.5);
    expect(loads().maxViolation).toBeLessThan(0.1);
  });

  it('routingStats counts', () => {
    const stats = routingStats(ints([0, 1, 0, -1, -1, -1, 2, 0], [4, 2]), 4);
    expect(stats).toMatchObject({ load: [3, 1, 1, 0], unused: 1, dropped: 3, unrouted: 1 });
    expect(stats.maxViolation).toBeCloseTo(3 / 1.25 - 1, 12);
    expect(routingStats(ints([0, 1, 2, 3], [4, 1]), 4)).toMatchObject({ entropy: 1, maxViolation: 0 });
  });
});
