import { grads, memory, type Tensor, tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { deviation } from '../../src/catalog/numerics';
import { linear, mlp } from '../../src/nn/layers';
import { uniform } from '../../src/random';

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

  it('says what does not fit', () => {
    const [x, weight] = [draw([2, 3]), draw([4, 5])];
    expect(() => linear(x, { weight })).toThrow(
      'linear: weight has shape [4,5]; expected [in, out] = [3,out] (in from x)',
    );
    expect(() => mlp(x, { up: { weight }, down: { weight } })).toThrow(RangeError);
  });
});
