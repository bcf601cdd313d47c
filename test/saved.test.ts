import { dispose, grads, memory, profile, randomNormal, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { deltaRule, linearScan } from '../src/ops';

const SHAPE = [1, 7, 5];

it('what a gradient needs is kept without a copy', async () => {
  const [a, b] = [randomNormal(SHAPE), randomNormal(SHAPE)];
  const before = memory();
  const { kernelNames } = await profile(() => {
    dispose(grads((x: Tensor, y: Tensor) => linearScan(x, y))([a, b]) as Tensor[]);
    return a;
  });
  expect(kernelNames).toContain('linnet.linearScanBackward');
  expect(kernelNames).not.toContain('Identity');
  expect(memory()).toEqual(before);
  dispose([a, b]);
});

it('it stays when a tensor is disposed before the backward pass', () => {
  const [a, b] = [randomNormal(SHAPE), randomNormal(SHAPE)];
  const gradient = (early: boolean) => {
    const f = (x: Tensor, y: Tensor) => {
      const once = linearScan(x, y);
      const twice = linearScan(once, once);
      if (early) once.dispose();
      return twice;
    };
    return tidy(() => (grads(f)([a, b]) as Tensor[]).flatMap((g) => [...g.dataSync()]));
  };
  const count = memory().numTensors;
  expect(gradient(true)).toEqual(gradient(false));
  expect(memory().numTensors).toBe(count);
  dispose([a, b]);
});

it('what a kernel writes for its gradient alone is written where one is recorded, and gone afterwards', async () => {
  const inputs = [
    [1, 40, 1, 8],
    [1, 40, 1, 8],
    [1, 40, 1, 8],
    [1, 40, 1],
  ].map((shape) => randomNormal(shape));
  const before = memory();
  const call = (q: Tensor, k: Tensor, v: Tensor, beta: Tensor) => deltaRule(q, k, v, beta);
  const outputsOf = async (run: () => Tensor | Tensor[]) => {
    const { kernels } = await profile(() => {
      dispose(run());
      return inputs[0];
    });
    return kernels.find(({ name }) => name === 'linnet.deltaRule')!.outputShapes;
  };
  const [q, k, v, beta] = inputs;
  expect(await outputsOf(() => call(q, k, v, beta))).toEqual([[1, 40, 1, 8]]);
  const kept = [
    [3, 1, 16, 8],
    [3, 1, 8, 8],
  ];
  expect(await outputsOf(() => grads(call)(inputs))).toEqual([[1, 40, 1, 8], ...kept]);
  expect(memory()).toEqual(before);
  dispose(inputs);
});
