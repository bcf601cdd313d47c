import { concat, grads, memory, type Tensor, tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { deviation } from '../../src/catalog/numerics';
import { activated } from '../../src/nn/activated';
import { joinChannels } from '../../src/nn/channels';
import { linear, linearParts, mlp, splitChannels } from '../../src/nn/layers';
import { asReference } from '../../src/op/define';
import { uniform } from '../../src/random';
import { damagedBlocks } from '../guard';

const random = uniform(1);
const draw = (shape: number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() - 0.5),
    shape,
  );

/** x weight + bias in float64. */
function product(x: Tensor, weight: Tensor, bias?: Tensor): Float64Array {
  const [into, out] = weight.shape;
  const [a, w, shift] = [x, weight, bias].map((t) => t?.dataSync());
  return Float64Array.from({ length: (x.size / into) * out! }, (_, at) => {
    const [row, n] = [Math.floor(at / out!), at % out!];
    let sum = shift?.[n] ?? 0;
    for (let k = 0; k < into; k++) sum += a![row * into + k] * w![k * out! + n];
    return sum;
  });
}

describe('linear', () => {
  // one row and two, more of them, outputs for several threads, and numbers of channels that no vector divides
  it.each([
    [[1, 1, 64], 48],
    [[2, 1, 37], 2051],
    [[1, 70], 1024],
    [[5], 3],
    [[2, 3, 2, 19], 21],
    [[1, 150, 24], 40],
    [[0, 4], 5],
  ])('%s to %s channels', (shape, out) => {
    const before = memory().numTensors;
    tidy(() => {
      const x = draw(shape);
      const [weight, bias] = [draw([shape.at(-1)!, out]), draw([out])];
      const turned = transpose(weight);
      for (const shift of [undefined, bias]) {
        const expected = product(x, weight, shift);
        for (const layer of [
          { weight, bias: shift },
          { weight: turned, bias: shift, transposed: true },
        ]) {
          const y = linear(x, layer);
          expect(y.shape).toEqual([...shape.slice(0, -1), out]);
          expect(deviation(y.dataSync(), expected).r).toBeLessThan(1e-6);
        }
      }
    });
    expect(memory().numTensors).toBe(before);
  });

  it('has gradients without those of tfjs', () => {
    tidy(() => {
      const [x, weight, bias, dy] = [draw([2, 3, 7]), draw([7, 5]), draw([5]), draw([2, 3, 5])];
      const f = (a: Tensor, w: Tensor, b: Tensor) => linear(a, { weight: w, bias: b });
      const [dx, dw, db] = grads(f)([x, weight, bias], dy);
      expect(deviation(dx.dataSync(), product(dy, transpose(weight))).r).toBeLessThan(1e-6);
      expect([dw.shape, db.shape]).toEqual([[7, 5], [5]]);
    });
  });

  it.each([1, 2, 3, 140])('gives its output in parts, %i rows', (rows) => {
    const before = memory().numTensors;
    tidy(() => {
      const [x, weight, bias] = [draw([rows, 37]), draw([37, 1200]), draw([1200])];
      const sizes = [1100, 0, 97, 3];
      const dy = draw([rows, 1200]);
      const turned = transpose(weight);
      for (const parts of [linearParts, asReference(linearParts)]) {
        for (const layer of [
          { weight, bias },
          { weight: turned, bias, transposed: true },
        ]) {
          let given: Tensor[] = [];
          expect(damagedBlocks(() => (given = parts(x, layer, sizes)))).toBe(0);
          splitChannels(linear(x, layer), sizes).forEach((expected, i) => {
            expect(given[i].shape).toEqual(expected.shape);
            if (sizes[i] > 0)
              expect(deviation(given[i].dataSync(), expected.dataSync()).r).toBeLessThan(1e-6);
          });
        }
      }
      const joined = (a: Tensor, w: Tensor, b: Tensor) =>
        joinChannels(linearParts(a, { weight: w, bias: b }, sizes));
      const whole = (a: Tensor, w: Tensor, b: Tensor) => linear(a, { weight: w, bias: b });
      const [own, expected] = [joined, whole].map((f) => grads(f)([x, weight, bias], dy));
      expect(own.map((g) => g.dataSync())).toEqual(expected.map((g) => g.dataSync()));
    });
    expect(memory().numTensors).toBe(before);
  });

  it('says what does not fit', () => {
    const [x, weight] = [draw([2, 3]), draw([4, 5])];
    expect(() => linear(x, { weight })).toThrow(
      'linear: weight has shape [4,5]; expected [in, out] = [3,out] (in from x)',
    );
    const layer = { weight, transposed: true };
    expect(() => linearParts(draw([2, 5]), layer, [5, -1])).toThrow(
      'linear: sizes are [5,-1]; expected parts of out = 4 (out from weight)',
    );
    expect(() => mlp(x, { up: { weight }, down: { weight } })).toThrow(RangeError);
  });
});

describe('mlp', () => {
  it('is the same with gate and up stored as one', () => {
    tidy(() => {
      const [x, gate, up, down] = [draw([2, 3, 7]), draw([9, 7]), draw([9, 7]), draw([7, 9])];
      const layer = (weight: Tensor) => ({ weight, transposed: true });
      const apart = { gate: layer(gate), up: layer(up), down: layer(down) };
      const joined = { gateUp: layer(concat([gate, up], 0)), down: layer(down) };
      for (const options of [{}, { activation: 'gelu' }, { activation: 'relu2', gateScale: 0.5 }] as const)
        expect(mlp(x, joined, options).dataSync()).toEqual(mlp(x, apart, options).dataSync());
    });
  });
});

describe('activated', () => {
  const kinds = ['silu', 'gelu', 'geluTanh', 'relu', 'identity'] as const;
  it.each(kinds)('%s, gated and not, with gradients', (kind) => {
    tidy(() => {
      for (const shape of [[1], [3], [4, 2], [5, 1027], [0, 3]]) {
        const [gate, up, dy] = [draw(shape), draw(shape), draw(shape)];
        const reference = asReference(activated);
        for (const inputs of [[gate], [gate, up]]) {
          const run = (f: typeof activated) => (a: Tensor, b?: Tensor) => f(kind, a, b);
          let y: Tensor[] = [];
          const damaged = damagedBlocks(() => {
            y = [run(activated)(gate, inputs[1]), ...grads(run(activated))(inputs, dy)];
          });
          expect(damaged).toBe(0);
          const expected = [run(reference)(gate, inputs[1]), ...grads(run(reference))(inputs, dy)];
          y.forEach((tensor, i) => {
            expect(tensor.shape).toEqual(shape);
            if (tensor.size > 0)
              expect(deviation(tensor.dataSync(), expected[i].dataSync()).r).toBeLessThan(1e-6);
          });
        }
      }
    });
  });
});
