import { add, concat, customGrad, type Scalar, tensor, tidy, train, variable } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { loadBalancingLoss, topkRouting } from '../../src/ops';

const [WORDS, PATCHES, E] = [16, 48, 4];
const masks = [true, false].map((words) =>
  tensor(
    Int32Array.from({ length: WORDS + PATCHES }, (_, i) => Number(i < WORDS === words)),
    [WORDS + PATCHES],
    'int32',
  ),
);

it('the balance loss of a kind is that of its tokens alone', () => {
  const draw = (count: number, seed: number) =>
    tensor(
      Float32Array.from({ length: count * E }, (_, i) => Math.sin(seed * (i + 1) ** 2)),
      [count, E],
    );
  const kinds = [draw(WORDS, 1), draw(PATCHES, 2)];
  const logits = concat(kinds, 0);
  const { indices } = topkRouting(logits, { topK: 2 });
  kinds.forEach((kind, i) => {
    const alone = loadBalancingLoss(kind, topkRouting(kind, { topK: 2 }).indices).dataSync()[0];
    expect(loadBalancingLoss(logits, indices, { mask: masks[i] }).dataSync()[0]).toBeCloseTo(alone, 5);
  });
});

it('a balance loss for each kind spreads both over the experts, where one kind was on one expert', () => {
  // words all prefer expert 0, patches the rest
  const start = Float32Array.from({ length: (WORDS + PATCHES) * E }, (_, i) => {
    const [token, expert] = [Math.floor(i / E), i % E];
    const preferred = token < WORDS ? expert === 0 : expert > 0;
    return (preferred ? 1 : 0) + 0.5 * Math.sin(7 * i);
  });
  const logits = variable(tensor(start, [WORDS + PATCHES, E]));
  const most = () =>
    tidy(() => {
      const chosen = Array.from(topkRouting(logits, { topK: 1 }).indices.dataSync());
      return [chosen.slice(0, WORDS), chosen.slice(WORDS)].map((kind) => {
        const counts = Array.from({ length: E }, (_, e) => kind.filter((one) => one === e).length);
        return Math.max(...counts) / kind.length;
      });
    });
  const before = most();
  const optimizer = train.sgd(4);
  for (let step = 0; step < 60; step++) {
    optimizer.minimize(() => {
      const { indices } = topkRouting(logits, { topK: 1 });
      const [a, b] = masks.map((mask) => loadBalancingLoss(logits, indices, { mask }));
      return customGrad((x, y) => ({
        value: add(x as never, y as never),
        gradFunc: (dy) => [dy.clone(), dy.clone()],
      }))(a, b) as Scalar;
    });
  }
  const after = most();
  expect(before[0]).toBeGreaterThan(0.7);
  expect(after[0]).toBeLessThan(0.5);
  expect(after[1]).toBeLessThan(0.5);
  optimizer.dispose();
  logits.dispose();
});
