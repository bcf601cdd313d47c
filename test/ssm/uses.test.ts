import { add, div, mul, reshape, square, sub, sum, tensor, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import { fftConv, linearScan, s4dKernel } from '../../src/ops';

// The uses that docs/ssm.md shows, against loops written from the papers' equations.

const gate = { shape: [1, 9, 3], draw: 'sigmoid' as const };

it('minGRU: h = (1 - z) h + z c', () => {
  tidy(() => {
    const t = drawInputs({ z: gate, c: { shape: [1, 9, 3] } });
    const h = linearScan(sub(1, t.z), mul(t.z, t.c)).dataSync();
    const [z, c] = [t.z.dataSync(), t.c.dataSync()];
    const state = [0, 0, 0];
    const expected = [...c].map((value, i) => {
      state[i % 3] = (1 - z[i]) * state[i % 3] + z[i] * value;
      return state[i % 3];
    });
    expect(deviation(h, expected).r).toBeLessThan(SCAN.r);
  });
});

it('minLSTM: h = f / (f + i) h + i / (f + i) c', () => {
  tidy(() => {
    const t = drawInputs({ f: gate, i: gate, c: { shape: [1, 9, 3] } });
    const total = add(t.f, t.i);
    const h = linearScan(div(t.f, total), mul(div(t.i, total), t.c)).dataSync();
    const [f, i, c] = [t.f, t.i, t.c].map((x) => x.dataSync());
    const state = [0, 0, 0];
    const expected = [...c].map((value, at) => {
      const forget = f[at] / (f[at] + i[at]);
      state[at % 3] = forget * state[at % 3] + (1 - forget) * value;
      return state[at % 3];
    });
    expect(deviation(h, expected).r).toBeLessThan(SCAN.r);
  });
});

it('Longhorn: each step solves min |S - S_(t-1)|^2 + beta |S k - x|^2 with the diagonal of k k^T', () => {
  tidy(() => {
    const [T, D, N] = [6, 2, 4];
    const t = drawInputs({
      x: { shape: [1, T, D, 1] },
      k: { shape: [1, T, 1, N] },
      beta: { shape: [1, T, D, 1], draw: 'sigmoid' },
    });
    const e = div(t.beta, add(1, mul(t.beta, sum(square(t.k), -1, true))));
    const a = sub(1, mul(e, square(t.k)));
    const b = mul(mul(e, t.k), t.x);
    const S = linearScan(reshape(a, [1, T, D * N]), reshape(b, [1, T, D * N])).dataSync();
    const [x, k, beta] = [t.x, t.k, t.beta].map((value) => value.dataSync());
    const state = new Float64Array(D * N);
    const expected: number[] = [];
    for (let step = 0; step < T; step++) {
      const key = [...k].slice(step * N, (step + 1) * N);
      const norm = key.reduce((total, value) => total + value ** 2, 0);
      for (let at = 0; at < D * N; at++) {
        const [d, n] = [Math.floor(at / N), at % N];
        const rate = beta[step * D + d] / (1 + beta[step * D + d] * norm);
        state[at] = (1 - rate * key[n] ** 2) * state[at] + rate * key[n] * x[step * D + d];
        expected.push(state[at]);
      }
    }
    expect(deviation(S, expected).r).toBeLessThan(SCAN.r);
  });
});

it('DSS softmax: the kernel of one mode is a softmax over lags, times w / lambda', () => {
  tidy(() => {
    const [T, lambda, step, w] = [12, -0.5, Math.exp(-1), 1.5];
    const scale = 1 / (Math.exp(lambda * step * T) - 1);
    const [one, none] = [tensor([[(w * scale) / 2]]), tensor([[0]])];
    const k = s4dKernel(tensor([-1]), tensor([[Math.log(0.5)]]), none, { re: one, im: none }, { length: T });
    const powers = Array.from({ length: T }, (_, lag) => Math.exp(lambda * step * lag));
    const total = powers.reduce((all, value) => all + value);
    const expected = powers.map((value) => ((w / lambda) * value) / total);
    expect(deviation(k.dataSync(), expected).r).toBeLessThan(SCAN.r);
  });
});

it('H3: a shift SSM, a product, a diagonal SSM, a product', () => {
  tidy(() => {
    const [T, H, N] = [10, 3, 4];
    const x = { shape: [1, T, H] };
    const t = drawInputs({
      q: x,
      k: x,
      v: x,
      shift: { shape: [H, N] },
      re: { shape: [H, 2] },
      im: { shape: [H, 2] },
    });
    const [logDt, logAReal, aImag] = [tensor([-1, -1, -1]), tensor(Array(6).fill(-1), [H, 2]), t.im];
    const diagonal = s4dKernel(logDt, logAReal, aImag, { re: t.re, im: t.im }, { length: T });
    const y = mul(t.q, fftConv(mul(fftConv(t.k, t.shift), t.v), diagonal)).dataSync();
    const [q, k, v, shift, kernel] = [t.q, t.k, t.v, t.shift, diagonal].map((value) => value.dataSync());
    const convolve = (u: ArrayLike<number>, weights: ArrayLike<number>, lags: number) =>
      Array.from({ length: T * H }, (_, at) => {
        const [time, h] = [Math.floor(at / H), at % H];
        let total = 0;
        for (let s = 0; s <= Math.min(time, lags - 1); s++) total += weights[h * lags + s] * u[at - s * H];
        return total;
      });
    const inner = convolve(k, shift, N).map((value, i) => value * v[i]);
    const expected = convolve(inner, kernel, T).map((value, i) => value * q[i]);
    expect(deviation(y, expected).r).toBeLessThan(SCAN.r);
  });
});
