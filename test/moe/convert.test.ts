import { ones, type Tensor, tensor, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { MOE } from '../../src/catalog/bounds';
import { deviation, drawInputs, float64 } from '../../src/catalog/numerics';
import { branchTrainMix, moefy, type NamedTensors, sparseUpcycle } from '../../src/moe/tools';
import * as linnet from '../../src/ops';
import * as reference from '../../src/reference';

const [D, F, M] = [6, 12, 6];
const { hidden } = drawInputs({ hidden: { shape: [7, D] } });

function dense(seed: number): NamedTensors {
  return drawInputs(
    {
      'layers.0.mlp.gate_proj.weight': { shape: [F, D] },
      'layers.0.mlp.up_proj.weight': { shape: [F, D] },
      'layers.0.mlp.down_proj.weight': { shape: [M, F] },
      'norm.weight': { shape: [D] },
    },
    seed,
  );
}

/** The dense network as a layer of one expert, by the reference. */
function denseOutput(weights: NamedTensors): Tensor {
  const [gate, up, down] = ['gate', 'up', 'down'].map((name) => weights[`layers.0.mlp.${name}_proj.weight`]);
  const gateUp = tensor([...gate.dataSync(), ...up.dataSync()], [1, 2 * F, D]);
  const one = { weights: ones([7, 1]), indices: zeros([7, 1], 'int32') };
  return reference.moeMlp(hidden, { gateUp, down: tensor(down.dataSync(), [1, M, F]) }, one);
}

function layerOutput(weights: NamedTensors, routingWeight: number): Tensor {
  const gateUp = weights['layers.0.mlp.experts.gate_up_proj'];
  const down = weights['layers.0.mlp.experts.down_proj'];
  const E = gateUp.shape[0];
  const indices = tensor(Array(7).fill(Array.from({ length: E }, (_, e) => e)), [7, E], 'int32');
  const routing = { weights: tensor(Array(7 * E).fill(routingWeight), [7, E]), indices };
  return linnet.moeMlp(hidden, { gateUp, down }, routing);
}

describe.each(['cluster', 'random', 'contiguous'] as const)('moefy, %s', (split) => {
  it('with all experts computes what the dense network does', () => {
    const weights = dense(1);
    const converted = moefy(weights, { numExperts: 3, split });
    expect(converted['layers.0.mlp.experts.gate_up_proj'].shape).toEqual([3, 8, D]);
    expect(converted['layers.0.mlp.experts.down_proj'].shape).toEqual([3, M, 4]);
    expect(converted['layers.0.mlp.gate.weight'].shape).toEqual([3, D]);
    expect(converted['norm.weight']).toBe(weights['norm.weight']);
    expect('layers.0.mlp.gate_proj.weight' in converted).toBe(false);
    const { r } = deviation(float64(layerOutput(converted, 1)), float64(denseOutput(weights)));
    expect(r).toBeLessThanOrEqual(MOE.r);
  });
});

it('moefy puts neurons that are alike into one expert', () => {
  const weights = dense(1);
  const kind = (f: number) => f % 3;
  const gate = tensor(
    Array.from({ length: F * D }, (_, i) => (i % D === kind(Math.floor(i / D)) ? 5 : 0) + 0.01 * Math.sin(i)),
    [F, D],
  );
  const converted = moefy({ ...weights, 'layers.0.mlp.gate_proj.weight': gate }, { numExperts: 3 });
  const router = converted['layers.0.mlp.gate.weight'].arraySync() as number[][];
  const strongest = router.map((row) => row.indexOf(Math.max(...row)));
  expect(strongest.sort()).toEqual([0, 1, 2]);
  for (const row of router) expect(Math.max(...row)).toBeGreaterThan(4.9);
});

describe('sparseUpcycle', () => {
  it('computes what the dense network does when weights sum to 1', () => {
    const weights = dense(2);
    const converted = sparseUpcycle(weights, { numExperts: 4 });
    const { r } = deviation(float64(layerOutput(converted, 0.25)), float64(denseOutput(weights)));
    expect(r).toBeLessThanOrEqual(MOE.r);
  });

  it('lets the copies differ by noise, the same for the same seed', () => {
    const weights = dense(2);
    const read = (seed: number) => {
      const converted = sparseUpcycle(weights, { numExperts: 2, noise: 0.1, seed });
      return Array.from(converted['layers.0.mlp.experts.down_proj'].dataSync());
    };
    const [first, second] = [read(3).slice(0, M * F), read(3).slice(M * F)];
    const { r } = deviation(first, second);
    expect(r).toBeGreaterThan(0.05);
    expect(r).toBeLessThan(0.3);
    expect(read(3)).toEqual(read(3));
    expect(read(4)).not.toEqual(read(3));
  });
});

describe('branchTrainMix', () => {
  it('makes an expert of every checkpoint and averages the rest', () => {
    const checkpoints = [dense(3), dense(4), dense(5)];
    const mixed = branchTrainMix(checkpoints);
    const sum = float64(layerOutput(mixed, 1));
    const parts = checkpoints.map((checkpoint) => float64(denseOutput(checkpoint)));
    const expected = parts[0].map((x, i) => x + parts[1][i] + parts[2][i]);
    expect(deviation(sum, expected).r).toBeLessThanOrEqual(MOE.r);
    const norms = checkpoints.map((checkpoint) => checkpoint['norm.weight'].dataSync());
    const mean = Array.from(norms[0], (x, i) => (x + norms[1][i] + norms[2][i]) / 3);
    expect(deviation(mixed['norm.weight'].dataSync(), mean).m).toBeLessThan(1e-6);
  });

  it('refuses checkpoints that do not match', () => {
    expect(() => branchTrainMix([dense(1), { ...dense(2), 'norm.weight': zeros([3]) }])).toThrow(
      'branchTrainMix: checkpoint 1 has [3] for norm.weight; expected [6], as checkpoint 0',
    );
    expect(() => branchTrainMix([])).toThrow('branchTrainMix: there is no checkpoint to mix');
  });
});

it('refuses what it cannot split', () => {
  expect(() => moefy(dense(1), { numExperts: 5 })).toThrow(
    'moefy: layers.0.mlp.gate_proj.weight has 12 neurons; expected a multiple of 5 (numExperts)',
  );
  expect(() => moefy({}, { numExperts: 2 })).toThrow('moefy: no feed-forward network among the weights');
  expect(() => moefy(dense(1), { numExperts: 2, prefixes: ['layers.1.mlp.'] })).toThrow(
    "moefy: 'layers.1.mlp.' has no gate_proj.weight, up_proj.weight and down_proj.weight among the weights",
  );
});
