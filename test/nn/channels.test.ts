import { grad, grads, memory, slice, type Tensor, tidy, zerosLike } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { drawInputs } from '../../src/catalog/numerics';
import { joinChannels } from '../../src/nn/channels';
import { fromHeads, splitChannels, toHeads } from '../../src/nn/layers';
import { asReference } from '../../src/op/define';
import { damagedBlocks } from '../guard';

const draw = (shape: number[]) => drawInputs({ x: { shape } }).x;
const values = (tensors: readonly Tensor[]) => tensors.map((t) => [t.shape, ...t.dataSync()]);

const cases: [shape: number[], sizes: number[]][] = [
  [
    [1, 1, 9],
    [4, 3, 2],
  ],
  [
    [2, 3, 2, 7],
    [1, 6],
  ],
  [[5], [5]],
  [
    [3, 4],
    [0, 4],
  ],
  [
    [0, 4],
    [1, 3],
  ],
  [
    [200, 33],
    [16, 1, 16],
  ],
];

describe.each([
  ['kernel', splitChannels, joinChannels],
  ['reference', asReference(splitChannels), asReference(joinChannels)],
])('%s', (_, split, join) => {
  it.each(cases)('%s into %s and back', (shape, sizes) => {
    const before = memory().numTensors;
    tidy(() => {
      const x = draw(shape);
      let parts: Tensor[] = [];
      expect(damagedBlocks(() => (parts = split(x, sizes)))).toBe(0);
      let begin = 0;
      const expected = sizes.map((size) => {
        begin += size;
        const start = [...shape.slice(1).map(() => 0), begin - size];
        return slice(x, start, [...shape.slice(0, -1), size]);
      });
      expect(values(parts)).toEqual(values(expected));
      expect(damagedBlocks(() => expect(values([join(parts)])).toEqual(values([x])))).toBe(0);
    });
    expect(memory().numTensors).toBe(before);
  });

  it('has the parts side by side as gradient, and the other way round, without those of tfjs', () => {
    tidy(() => {
      const [x, a, b] = [draw([2, 3, 5]), draw([2, 3, 2]), draw([2, 3, 3])];
      const both = (y: Tensor) => join([...split(y, [2, 3])]);
      expect(values([grad(both)(x, x)])).toEqual(values([x]));
      const last = (y: Tensor) => split(y, [2, 3])[1];
      expect(grad(last)(x, b).dataSync()).toEqual(join([zerosLike(a), b]).dataSync());
      const joined = grads((p: Tensor, q: Tensor) => join([p, q]))([a, b], x);
      expect(values(joined)).toEqual(values(split(x, [2, 3])));
    });
  });
});

it('says what does not add up', () => {
  expect(() => splitChannels(draw([2, 4]), [1, 2])).toThrow(
    'splitChannels: sizes are [1,2]; expected parts of C = 4 (C from x)',
  );
  expect(() => splitChannels(draw([2, 4]), [5, -1])).toThrow(RangeError);
  expect(() => splitChannels([1] as never, [1])).toThrow('splitChannels: x must be a tensor');
});

describe('heads', () => {
  it('are a view of the channels, there as long as either', () => {
    const before = memory();
    const x = draw([1, 3, 8]);
    const heads = toHeads(x, 4);
    expect(memory().numDataBuffers).toBe(before.numDataBuffers + 1);
    const expected = x.dataSync();
    x.dispose();
    const back = fromHeads(heads);
    heads.dispose();
    expect([back.shape, back.dataSync()]).toEqual([[1, 3, 8], expected]);
    back.dispose();
    expect(memory()).toEqual(before);
  });
});
