import { dispose, type Tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { multiHeadLatentAttention as latent } from '../../bench/attention/multiHeadLatentAttention';
import { blockedAttention, decodeAttention } from '../../bench/onnx/attention';
import { linearAttention } from '../../bench/onnx/linear';
import { moeLayer, router } from '../../bench/onnx/moe';
import { type OnnxModel, onnxRuntime, openSession } from '../../bench/onnx/session';
import { scanModel, ssdModel } from '../../bench/onnx/ssm';
import { scans } from '../../bench/ssm/scans';
import { deviation, drawInputs } from '../../src/catalog/numerics';
import type { InputSpec, Tensors } from '../../src/catalog/types';
import * as linnet from '../../src/ops';

const x = (T: number, H: number, D = 8): InputSpec => ({ shape: [1, T, H, D] });
const unit = (T: number): InputSpec => ({ ...x(T, 2), draw: 'unit' });
const gates = {
  g: { shape: [1, 33, 2], draw: 'logSigmoid' },
  beta: { shape: [1, 33, 2], draw: 'sigmoid' },
} as const;
const experts = {
  hidden: { shape: [17, 16] },
  router: { shape: [4, 16] },
  gateUp: { shape: [4, 48, 16] },
  down: { shape: [4, 16, 24] },
};

/** What is timed must be the same computation. */
const rivals: Record<
  string,
  [inputs: Record<string, InputSpec>, model: (t: Tensors) => OnnxModel, ours: (t: Tensors) => Tensor]
> = {
  'blocked attention, causal': [
    { q: x(70, 2), k: x(70, 2), v: x(70, 2) },
    (t) => blockedAttention(t, { isCausal: true }),
    ({ q, k, v }) => transpose(linnet.scaledDotProductAttention(q, k, v, { isCausal: true }), [0, 2, 1, 3]),
  ],
  'blocked attention, window, grouped heads': [
    { q: x(70, 4), k: x(70, 2), v: x(70, 2) },
    (t) => blockedAttention(t, { isCausal: true, window: 9 }),
    ({ q, k, v }) =>
      transpose(linnet.scaledDotProductAttention(q, k, v, { isCausal: true, window: 9 }), [0, 2, 1, 3]),
  ],
  'decoding attention': [
    { q: x(1, 4, 16), k: x(40, 2, 16), v: x(40, 2, 16) },
    decodeAttention,
    ({ q, k, v }) => linnet.scaledDotProductAttention(q, k, v, { isCausal: true }),
  ],
  'linear attention': [
    { q: x(33, 2), k: x(33, 2), v: x(33, 2) },
    ({ q, k, v }) => linearAttention({ q, k, v }, 'linear'),
    ({ q, k, v }) => linnet.linearAttention(q, k, v, { scale: 1 }),
  ],
  'gated linear attention, a decay per head': [
    { q: x(33, 2), k: x(33, 2), v: x(33, 2), g: gates.g },
    ({ q, k, v, g }) => linearAttention({ q, k, v, g }, 'gated'),
    ({ q, k, v, g }) => linnet.simpleGla(q, k, v, g, { scale: 1 }),
  ],
  'gated linear attention, a decay per channel': [
    { q: x(33, 2), k: x(33, 2), v: x(33, 2), g: { ...x(33, 2), draw: 'logSigmoid' } },
    ({ q, k, v, g }) => linearAttention({ q, k, v, g }, 'gated'),
    ({ q, k, v, g }) => linnet.gla(q, k, v, g, { scale: 1 }),
  ],
  'delta rule': [
    { q: x(33, 2), k: unit(33), v: x(33, 2), beta: gates.beta },
    ({ q, k, v, beta }) => linearAttention({ q, k, v, beta }, 'delta'),
    ({ q, k, v, beta }) => linnet.deltaRule(q, k, v, beta, { scale: 1 }),
  ],
  'gated delta rule': [
    { q: x(33, 2), k: unit(33), v: x(33, 2), ...gates },
    ({ q, k, v, g, beta }) => linearAttention({ q, k, v, g, beta }, 'gated_delta'),
    ({ q, k, v, g, beta }) => linnet.gatedDeltaRule(q, k, v, g, beta, { scale: 1 }),
  ],
  'selective scan': [
    {
      u: { shape: [1, 9, 5] },
      delta: { shape: [1, 9, 5], draw: 'sigmoid' },
      A: { shape: [5, 4], draw: 'logSigmoid' },
      b: { shape: [1, 9, 4] },
      c: { shape: [1, 9, 4] },
    },
    ({ u, delta, A, b, c }) => scanModel(u, delta, A, b, c),
    ({ u, delta, A, b, c }) => linnet.selectiveScan(u, delta, A, b, c),
  ],
  ssd: [
    {
      x: x(33, 2),
      dt: gates.beta,
      A: { shape: [2], draw: 'logSigmoid' },
      b: x(33, 1),
      c: x(33, 1),
    },
    (t) => ssdModel(t.x, t.dt, t.A, t.b, t.c),
    (t) => linnet.ssd(t.x, t.dt, t.A, t.b, t.c),
  ],
  router: [
    experts,
    (t) => router(t, 2),
    (t) =>
      linnet.topkRouting(linnet.routerLogits(t.hidden, t.router), { topK: 2, normTopkProb: true }).weights,
  ],
  'expert layer': [
    experts,
    (t) => moeLayer(t, 2),
    (t) =>
      linnet.moeMlp(
        t.hidden,
        { gateUp: t.gateUp, down: t.down },
        linnet.topkRouting(linnet.routerLogits(t.hidden, t.router), { topK: 2, normTopkProb: true }),
      ),
  ],
};

describe('models of onnxruntime-web compute what linnet does', async () => {
  const ort = (await onnxRuntime(1))!;
  it.each(Object.entries(rivals))('%s', async (_, [inputs, model, ours]) => {
    const tensors = drawInputs(inputs);
    const { graph, feeds, fetches } = model(tensors);
    const session = await openSession(ort, { graph, feeds, fetches });
    const results = await session.run();
    const output = ours(tensors);
    const actual = results[fetches[0]].data as Float32Array;
    expect(deviation(actual, output.dataSync()).r).toBeLessThan(1e-5);
    await session.close();
    output.dispose();
    dispose(tensors as never);
  });
});

it.each(scans.filter(({ rivals }) => rivals?.depthwise))('depthwise convolution computes $op $id', (w) => {
  const tensors = drawInputs(w.inputs);
  tidy(() => {
    const [ours, theirs] = [w.call(linnet, tensors), w.rivals!.depthwise(tensors)] as Tensor[];
    expect(deviation(theirs.dataSync(), ours.dataSync()).r).toBeLessThan(1e-5);
  });
  dispose(tensors as never);
});

it('latent attention of tfjs ops computes what linnet does', () => {
  const decode = latent.find(({ rivals }) => rivals?.absorbed)!;
  const tensors = drawInputs(decode.inputs);
  tidy(() => {
    const ours = decode.call(linnet, tensors) as Tensor;
    const forms = [decode.rivals!.absorbed, latent.find(({ rivals }) => rivals?.expanded)!.rivals!.expanded];
    for (const form of forms)
      expect(deviation((form(tensors) as Tensor).dataSync(), ours.dataSync()).r).toBeLessThan(1e-5);
  });
  dispose(tensors as never);
});
