import { tensor } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { drawIds } from '../../bench/models';
import { small, smallHybrid } from '../../bench/models/configs';
import { modelOnnx, type Past } from '../../bench/models/onnx';
import { randomModel } from '../../bench/models/randomModel';
import { onnxRuntime, openSession } from '../../bench/onnx/session';
import { deviation } from '../../src/catalog/numerics';
import { valuesOf } from '../../src/models/values';

it.each(Object.entries({ ...small, hybrid: smallHybrid }))(
  '%s in onnxruntime-web is that of linnet, prompt and next token',
  async (_, config) => {
    const ort = (await onnxRuntime(1))!;
    const model = randomModel(config);
    const ids = drawIds(20, model.spec.vocabSize);
    const logitsOf = (count: number) =>
      valuesOf(() => model.forward(tensor(ids.subarray(0, count), [1, count], 'int32'), { last: true }));

    const description = modelOnnx(model, ids.subarray(0, 19));
    const prompt = await openSession(ort, description);
    const read = await prompt.run();
    expect(deviation(read.logits.data as Float32Array, logitsOf(19)).r).toBeLessThan(1e-5);
    const states = Object.fromEntries(
      description.presents.map((name) => [name, read[name].data as Float32Array]),
    );
    const past: Past = { seen: 19, states };
    const next = await openSession(ort, modelOnnx(model, ids.subarray(19), past));
    const { logits } = await next.run();
    expect(deviation(logits.data as Float32Array, logitsOf(20)).r).toBeLessThan(1e-5);
    await prompt.close();
    await next.close();
    model.dispose();
  },
);
