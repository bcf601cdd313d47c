import { tensor, tidy } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { drawIds } from '../../bench/models';
import { small } from '../../bench/models/configs';
import { llamaOnnx } from '../../bench/models/llama';
import { randomModel } from '../../bench/models/randomModel';
import { onnxRuntime, openSession } from '../../bench/onnx/session';
import { deviation } from '../../src/catalog/numerics';

it('the Llama of onnxruntime-web is that of linnet, prompt and next token', async () => {
  const ort = (await onnxRuntime(1))!;
  const model = randomModel(small['small llama']);
  const { layers, vocabSize } = model.spec;
  const ids = drawIds(20, vocabSize);
  const logitsOf = (count: number) =>
    tidy(() => model.forward(tensor(ids.subarray(0, count), [1, count], 'int32'), { last: true }).dataSync());

  const prompt = await openSession(ort, llamaOnnx(model, ids.subarray(0, 19)));
  const read = await prompt.run();
  expect(deviation(read.logits.data as Float32Array, logitsOf(19)).r).toBeLessThan(1e-5);
  const past = layers.map((_, i) =>
    ['key', 'value'].map((part) => read[`present.${i}.${part}`].data as Float32Array),
  );
  const next = await openSession(ort, llamaOnnx(model, ids.subarray(19), past));
  const { logits } = await next.run();
  expect(deviation(logits.data as Float32Array, logitsOf(20)).r).toBeLessThan(1e-5);
  await prompt.close();
  await next.close();
  model.dispose();
});
