import {
  add,
  engine,
  grad,
  grads,
  mul,
  ones,
  randomNormal,
  sub,
  sum,
  type Tensor,
  tensor,
  zeros,
} from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  bidirectionalScan,
  crossMerge,
  crossScan,
  inverseOrder,
  permuteTokens,
  qShift,
  zigzagOrder,
} from '../../src/nn/layers';
import { linearScan } from '../../src/ops';

const SIZES = [
  [1, 1],
  [1, 6],
  [5, 1],
  [2, 2],
  [3, 5],
  [7, 4],
];
const range = (shape: number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i + 1),
    shape,
  );
const values = (x: Tensor) => Array.from(x.dataSync());
const draw = (shape: number[], seed: number) => randomNormal(shape, 0, 1, 'float32', seed);
const dot = (a: Tensor, b: Tensor) => {
  const [x, y] = [values(a), values(b)];
  return x.reduce((total, value, i) => total + value * y[i], 0);
};

beforeAll(() => engine().startScope());
afterAll(() => engine().endScope());

/** <f(x), w> = <x, f's gradient of w>: f is linear, so this is the whole of its gradient. */
function adjoint(f: (x: Tensor) => Tensor, x: Tensor) {
  const w = draw(f(x).shape, 9);
  const gradient = grad(f)(x, w);
  expect(gradient.shape).toEqual(x.shape);
  const other = draw(x.shape, 10);
  expect(dot(f(other), w)).toBeCloseTo(dot(other, gradient), 3);
}

describe.each(SIZES)('a grid of %i by %i', (H, W) => {
  const L = H * W;

  it('crossScan is rows, columns and both reversed', () => {
    const x = range([2, H, W, 3]);
    const data = x.arraySync() as number[][][][];
    const scanned = crossScan(x);
    expect(scanned.shape).toEqual([2, 4, L, 3]);
    const expected = data.map((image) => {
      const rows = image.flat();
      const columns = Array.from({ length: W }, (_, w) => image.map((row) => row[w])).flat();
      return [rows, columns, [...rows].reverse(), [...columns].reverse()];
    });
    expect(scanned.arraySync()).toEqual(expected);
  });

  it('crossMerge brings tokens back and adds them', () => {
    const x = range([2, H, W, 3]);
    expect(values(crossMerge(crossScan(x), { H, W }))).toEqual(values(x).map((value) => 4 * value));
    adjoint((y) => crossMerge(y, { H, W }), draw([2, 4, L, 3], 1));
    adjoint(crossScan, draw([2, H, W, 3], 2));
  });

  it('each direction of crossMerge is the inverse of that of crossScan', () => {
    const x = range([1, H, W, 2]);
    for (let direction = 0; direction < 4; direction++) {
      const only = tensor(
        Float32Array.from({ length: 4 }, (_, i) => (i === direction ? 1 : 0)),
        [1, 4, 1, 1],
      );
      expect(values(crossMerge(mul(crossScan(x), only), { H, W }))).toEqual(values(x));
    }
  });

  it('zigzagOrder is a path of neighbours through all tokens', () => {
    const begins = [0, W - 1, (H - 1) * W, L - 1];
    for (let scheme = 0; scheme < 8; scheme++) {
      const order = zigzagOrder(H, W, { scheme });
      expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: L }, (_, i) => i));
      expect(order[0]).toBe(begins[scheme % 4]);
      for (let i = 1; i < L; i++) {
        const rows = Math.abs(Math.floor(order[i] / W) - Math.floor(order[i - 1] / W));
        const columns = Math.abs((order[i] % W) - (order[i - 1] % W));
        expect(rows + columns).toBe(1);
      }
      const x = range([2, L, 3]);
      const path = permuteTokens(x, order);
      expect(values(permuteTokens(path, inverseOrder(order)))).toEqual(values(x));
      expect((path.arraySync() as number[][][])[1]).toEqual(
        Array.from(order, (place) => (x.arraySync() as number[][][])[1][place]),
      );
      adjoint((y) => permuteTokens(y, order), x);
    }
  });

  it.each([1, 2, 3, 4, 6, 8])('qShift of %i channels', (C) => {
    const x = range([2, L, C]);
    const data = x.arraySync() as number[][][];
    for (const shift of [0, 1, 2, 9]) {
      const expected = data.map((image) =>
        image.map((token, at) =>
          token.map((_, c) => {
            const quarter = [1, 2, 3, 4].findIndex((q) => c < Math.floor((C * q) / 4));
            const [up, left] = [
              [0, 1],
              [0, -1],
              [1, 0],
              [-1, 0],
            ][quarter];
            const [row, column] = [Math.floor(at / W) - up * shift, (at % W) - left * shift];
            const inside = row >= 0 && row < H && column >= 0 && column < W;
            return inside ? image[row * W + column][c] : 0;
          }),
        ),
      );
      expect(qShift(x, { H, W, shift }).arraySync()).toEqual(expected);
      adjoint((y) => qShift(y, { H, W, shift }), x);
    }
  });
});

it('the first path of zigzagOrder goes along rows, the fifth along columns', () => {
  expect([...zigzagOrder(2, 3)]).toEqual([0, 1, 2, 5, 4, 3]);
  expect([...zigzagOrder(2, 3, { scheme: 4 })]).toEqual([0, 3, 4, 1, 2, 5]);
  expect([...zigzagOrder(2, 3, { scheme: 3 })]).toEqual([5, 4, 3, 0, 1, 2]);
});

describe('bidirectionalScan', () => {
  it('with running sums is the sum of all tokens and one more of its own', () => {
    const x = range([2, 5, 3]);
    const sums = (y: Tensor) => linearScan(ones([3]), y);
    const expected = add(x, sum(x, 1, true));
    expect(values(bidirectionalScan(x, sums))).toEqual(values(expected));
    adjoint((y) => bidirectionalScan(y, sums), x);
  });

  it('runs the second mixer from the end, and its weights learn', () => {
    const [x, a, b] = [draw([1, 6, 2], 3), tensor([0.5, 0.9]), tensor([0.2, 0.7])];
    const mixed = bidirectionalScan(
      x,
      (y) => linearScan(a, y),
      (y) => linearScan(b, y),
    );
    const expected = add(linearScan(a, x), linearScan(b, x, { reverse: true }));
    const difference = values(sub(mixed, expected)).map(Math.abs);
    expect(Math.max(...difference)).toBeLessThan(1e-6);
    const dy = draw([1, 6, 2], 4);
    const run = (u: Tensor, f: Tensor, g: Tensor) =>
      bidirectionalScan(
        u,
        (y) => linearScan(f, y),
        (y) => linearScan(g, y),
      );
    const [, da, db] = grads(run)([x, a, b], dy);
    const [alone] = grads((f: Tensor) => linearScan(f, x))([a], dy);
    const [reverse] = grads((g: Tensor) => linearScan(g, x, { reverse: true }))([b], dy);
    values(da).forEach((value, i) => {
      expect(value).toBeCloseTo(values(alone)[i], 5);
    });
    values(db).forEach((value, i) => {
      expect(value).toBeCloseTo(values(reverse)[i], 5);
    });
  });
});

it('takes what is empty', () => {
  expect(crossScan(zeros([1, 0, 3, 2])).shape).toEqual([1, 4, 0, 2]);
  expect(crossMerge(zeros([1, 4, 6, 0]), { H: 2, W: 3 }).shape).toEqual([1, 6, 0]);
  expect(crossScan(zeros([0, 2, 3, 2])).shape).toEqual([0, 4, 6, 2]);
  expect(qShift(zeros([0, 6, 4]), { H: 2, W: 3 }).shape).toEqual([0, 6, 4]);
  expect(permuteTokens(zeros([2, 0, 4]), zigzagOrder(0, 3)).shape).toEqual([2, 0, 4]);
});

it('leaks nothing', () => {
  const x = draw([1, 2, 3, 4], 1);
  const tokens = draw([1, 6, 4], 2);
  const calls: [(x: Tensor) => Tensor, Tensor][] = [
    [crossScan, x],
    [(y) => crossMerge(y, { H: 2, W: 3 }), draw([1, 4, 6, 2], 3)],
    [(y) => permuteTokens(y, zigzagOrder(2, 3)), tokens],
    [(y) => qShift(y, { H: 2, W: 3 }), tokens],
    [(y) => bidirectionalScan(y, (z) => linearScan(ones([4]), z)), tokens],
  ];
  for (const [call, input] of calls) {
    const dy = call(input);
    const before = engine().state.numTensors;
    call(input).dispose();
    grad(call)(input, dy).dispose();
    expect(engine().state.numTensors).toBe(before);
  }
});

it('says what is wrong', () => {
  expect(() => crossScan(zeros([1, 6, 2]))).toThrow('crossScan: x has shape [1,6,2]; expected [B, H, W, C]');
  expect(() => crossMerge(zeros([1, 3, 6, 2]), { H: 2, W: 3 })).toThrow(
    'crossMerge: y has shape [1,3,6,2]; expected [B, 4, L, C]',
  );
  expect(() => crossMerge(zeros([1, 4, 6, 2]), { H: 2, W: 2 })).toThrow(
    'crossMerge: y has 6 tokens; expected H W = 2 * 2 = 4',
  );
  expect(() => qShift(zeros([1, 6, 2]), { H: 4, W: 1.5 })).toThrow(
    'qShift: W is 1.5; expected an integer of at least 0',
  );
  expect(() => qShift(zeros([1, 6, 2]), { H: 2, W: 3, shift: -1 })).toThrow(
    'qShift: shift is -1; expected an integer of at least 0',
  );
  expect(() => zigzagOrder(2, -1)).toThrow('zigzagOrder: W is -1; expected an integer of at least 0');
  expect(() => zigzagOrder(2, 2, { scheme: 8 })).toThrow('zigzagOrder: scheme is 8; expected 0 to 7');
  expect(() => permuteTokens(zeros([1, 3, 2]), [0, 1])).toThrow(
    'permuteTokens: x has shape [1,3,2]; expected [B, T, ...] with T = 2, as order has',
  );
  expect(() => permuteTokens(zeros([1, 3, 2]), [0, 1, 1])).toThrow(
    'inverseOrder: order[2] is 1; expected each of 0 to 2 once',
  );
});
