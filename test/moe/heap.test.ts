import { dispose, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { moe } from '../../src/catalog/moe';
import { differentiableInputs, drawInputs, gradientsOf } from '../../src/catalog/numerics';
import * as linnet from '../../src/ops';
import { damagedBlocks } from '../guard';

it.each(moe.flatMap(({ name, cases }) => cases.map((c) => ({ name, id: c.id, c }))))(
  '$name $id writes to its own memory only',
  ({ c }) => {
    const tensors = drawInputs(c.inputs);
    const damaged = damagedBlocks(() => {
      tidy(() => c.call(linnet, tensors));
      if (differentiableInputs(c).length > 0) gradientsOf(c, tensors, (t) => c.call(linnet, t));
    });
    expect(damaged).toBe(0);
    dispose(tensors as never);
  },
);

it('blocks of every size stay within their scratch', () => {
  for (const layout of ['outIn', 'inOut'] as const) {
    for (const N of [1, 2, 3, 9, 12, 127, 128, 129]) {
      const [D, F] = [5, 259];
      const { hidden, gateUp, down, logits } = drawInputs({
        hidden: { shape: [N, D] },
        gateUp: { shape: layout === 'outIn' ? [1, 2 * F, D] : [1, D, 2 * F] },
        down: { shape: layout === 'outIn' ? [1, D, F] : [1, F, D] },
        logits: { shape: [N, 1] },
      });
      const damaged = damagedBlocks(() => {
        tidy(() =>
          linnet.moeMlp(hidden, { gateUp, down }, linnet.topkRouting(logits, { topK: 1 }), { layout }),
        );
      });
      expect(damaged, `${layout} ${N}`).toBe(0);
      dispose([hidden, gateUp, down, logits]);
    }
  }
});
