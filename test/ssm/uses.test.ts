import {
  add,
  concat,
  div,
  mul,
  reshape,
  slice,
  square,
  sub,
  sum,
  type Tensor,
  tensor,
  tidy,
  zeros,
} from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { SCAN } from '../../src/catalog/bounds';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import { fftConv, linearScan, s4dKernel, selectiveScan } from '../../src/ops';
import { hippo } from '../../src/ssm/hippo';

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

/** H channels of N real modes A, sampled by the trapezoidal rule with B = 1: z, f and C. */
function liquid(H: number, N: number) {
  const t = drawInputs({ u: { shape: [1, 14, H] }, C: { shape: [H, N] } });
  const steps = Array.from({ length: H }, (_, h) => 0.2 + 0.1 * h);
  const logs = Array.from({ length: H * N }, (_, at) => Math.log(1 + (at % N)));
  const z = logs.map((log, at) => {
    const half = (steps[Math.floor(at / N)] * Math.exp(log)) / 2;
    return (1 - half) / (1 + half);
  });
  const f = logs.map((log, at) => (1 - z[at]) / Math.exp(log));
  const kernel = (C: Tensor, length: number) => {
    const none = zeros([H, N]);
    const [logDt, logA] = [tensor(steps.map(Math.log)), tensor(logs, [H, N])];
    const options = { length, discretization: 'bilinear' as const };
    return s4dKernel(logDt, logA, none, { re: mul(C, 0.5), im: none }, options);
  };
  return { u: t.u, C: t.C, z, f, kernel };
}

/** C h_t of Liquid-S4, h_t = (A + B u_t) h_(t-1) + B u_t with A and B sampled. */
function liquidOutputs(u: ArrayLike<number>, C: ArrayLike<number>, z: number[], f: number[], H: number) {
  const N = z.length / H;
  const state = new Float64Array(H * N);
  return Array.from(u, (value, at) => {
    let y = 0;
    for (let n = (at % H) * N; n < ((at % H) + 1) * N; n++) {
      state[n] = (z[n] + f[n] * value) * state[n] + f[n] * value;
      y += C[n] * state[n];
    }
    return y;
  });
}

const previous = (x: Tensor) => {
  const [B, T, H] = x.shape;
  return concat([zeros([B, 1, H]), slice(x, 0, [B, T - 1, H])], 1);
};

it('Liquid-S4: a scan whose transition holds the input', () => {
  tidy(() => {
    const [T, H, N] = [14, 2, 3];
    const { u, C, z, f } = liquid(H, N);
    const Bu = mul(tensor(f, [H, N]), reshape(u, [1, T, H, 1]));
    const a = reshape(add(tensor(z, [H, N]), Bu), [1, T, H * N]);
    const h = reshape(linearScan(a, reshape(Bu, [1, T, H * N])), [1, T, H, N]);
    const expected = liquidOutputs(u.dataSync(), C.dataSync(), z, f, H);
    expect(deviation(sum(mul(h, C), -1).dataSync(), expected).r).toBeLessThan(SCAN.r);
  });
});

it('Liquid-S4, KB and PB kernels: products of neighbouring tokens up to order 3', () => {
  tidy(() => {
    const [T, H, N] = [14, 2, 3];
    const { u, C, z, f, kernel } = liquid(H, N);
    const Bbar = tensor(f, [H, N]);
    const pairs = mul(u, previous(u));
    const products = [u, pairs, mul(u, previous(pairs))];
    const powers = [C, mul(C, Bbar), mul(C, square(Bbar))];
    const terms = products.map((product, p) => fftConv(product, kernel(powers[p], T)));
    const kb = add(add(terms[0], terms[1]), terms[2]);
    const liquidPart = [1, 2].map((p) => mul(products[p], sum(mul(powers[p], Bbar), 1)));
    const pb = add(add(terms[0], liquidPart[0]), liquidPart[1]);

    const [x, c] = [u.dataSync(), C.dataSync()];
    // sum over p and over runs of p tokens that end at s <= t of C A^(t-s) B^p times their product
    const expected = (withA: boolean) =>
      Array.from(x, (_, at) => {
        const [t, h] = [Math.floor(at / H), at % H];
        let y = 0;
        for (let p = 1; p <= 3; p++) {
          for (let s = p - 1; s <= t; s++) {
            if (p > 1 && !withA && s < t) continue;
            let product = 1;
            for (let i = s - p + 1; i <= s; i++) product *= x[i * H + h];
            for (let n = h * N; n < (h + 1) * N; n++) y += c[n] * z[n] ** (t - s) * f[n] ** p * product;
          }
        }
        return y;
      });
    expect(deviation(kb.dataSync(), expected(true)).r).toBeLessThan(SCAN.r);
    expect(deviation(pb.dataSync(), expected(false)).r).toBeLessThan(SCAN.r);
  });
});

it('Liquid-S4: two tokens have no other products than those of the KB kernel', () => {
  tidy(() => {
    const { u, C, z, f, kernel } = liquid(2, 3);
    const two = slice(u, 0, [1, 2, 2]);
    const Bbar = tensor(f, [2, 3]);
    const liquidPart = fftConv(mul(two, previous(two)), kernel(mul(C, Bbar), 2));
    const y = add(fftConv(two, kernel(C, 2)), liquidPart);
    const expected = liquidOutputs(two.dataSync(), C.dataSync(), z, f, 2);
    expect(deviation(y.dataSync(), expected).r).toBeLessThan(SCAN.r);
  });
});

it("Time-SSM: x' = A x + B u on the diagonal of HiPPO, sampled by zoh", () => {
  tidy(() => {
    const [T, H, N] = [16, 2, 4];
    const t = drawInputs({ u: { shape: [1, T, H] }, C: { shape: [H, N] } });
    const { A } = hippo('legs', N);
    const eigenvalues = Array.from({ length: N }, (_, n) => A[n * N + n]);
    const steps = [0.1, 0.3];
    const none = zeros([H, N]);
    const logA = tensor(Array(H).fill(eigenvalues.map((a) => Math.log(-a))));
    const C = { re: mul(t.C, 0.5), im: none };
    const k = s4dKernel(tensor(steps.map(Math.log)), logA, none, C, { length: T });
    const y = fftConv(t.u, k).dataSync();
    const [u, c] = [t.u.dataSync(), t.C.dataSync()];
    const state = new Float64Array(H * N);
    const expected = Array.from(u, (value, at) => {
      const h = at % H;
      let total = 0;
      for (let n = 0; n < N; n++) {
        const decay = Math.exp(steps[h] * eigenvalues[n]);
        const held = (decay - 1) / eigenvalues[n];
        state[h * N + n] = decay * state[h * N + n] + held * value;
        total += c[h * N + n] * state[h * N + n];
      }
      return total;
    });
    expect(eigenvalues).toEqual([-1, -2, -3, -4]);
    expect(deviation(y, expected).r).toBeLessThan(SCAN.r);
  });
});

it('Time-SSM, dynamic: steps, B and C of the token on the same eigenvalues', () => {
  tidy(() => {
    const [T, H, N] = [16, 2, 4];
    const t = drawInputs({
      u: { shape: [1, T, H] },
      delta: { shape: [1, T, H], draw: 'sigmoid' },
      B: { shape: [1, T, N] },
      C: { shape: [1, T, N] },
    });
    const A = tensor(Array(H).fill([-1, -2, -3, -4]));
    const y = selectiveScan(t.u, t.delta, A, t.B, t.C).dataSync();
    const [u, delta, b, c] = [t.u, t.delta, t.B, t.C].map((value) => value.dataSync());
    const state = new Float64Array(H * N);
    const expected = Array.from(u, (value, at) => {
      const [time, h] = [Math.floor(at / H), at % H];
      let total = 0;
      for (let n = 0; n < N; n++) {
        const decay = Math.exp(-delta[at] * (n + 1));
        state[h * N + n] = decay * state[h * N + n] + delta[at] * b[time * N + n] * value;
        total += c[time * N + n] * state[h * N + n];
      }
      return total;
    });
    expect(deviation(y, expected).r).toBeLessThan(SCAN.r);
  });
});
