import { tensor, tidy } from '@tensorflow/tfjs-core';
import { info } from '../../src/index';
import type { Cache, Model } from '../../src/models';
import { valuesOf } from '../../src/models/values';
import { uniform } from '../../src/random';
import { type Contender, measure, QUICK, STEADY, summary, type Timing } from '../measure';
import { onnxRuntime, openSession } from '../onnx/session';
import { configs, small } from './configs';
import { modelOnnx } from './onnx';
import { parametersOf, randomModel } from './randomModel';

const PROMPT = 512;
const CHUNK = 2048;
/** Where the time of a token is taken in small models. */
const POSITIONS = [256, 2048, 8192, 32768];
/** Tokens that a small recurrent model writes one by one, and how many share a median. */
const LONG = 32768;
const WINDOW = 4096;

export interface ModelRow {
  model: string;
  parameters: number;
  phase: string;
  /** Of a call. */
  tokens: number;
  times: Record<string, Timing>;
}

export function drawIds(T: number, vocabSize: number): Int32Array {
  const random = uniform(7);
  return Int32Array.from({ length: T }, () => Math.floor(vocabSize * random()));
}

const row = (ids: Int32Array) => tensor(ids, [1, ids.length], 'int32');

/** Reads so many tokens, in chunks. */
export function filled(model: Model, count: number): Cache {
  const cache = model.createCache({ capacity: count + CHUNK });
  for (let begin = 0; begin < count; begin += CHUNK) {
    tidy(() => {
      const ids = drawIds(Math.min(CHUNK, count - begin), model.spec.vocabSize);
      model.forward(row(ids), { cache, last: true });
    });
  }
  return cache;
}

const prefill = (model: Model, ids: Int32Array): Contender => ({
  name: 'linnet',
  run: () => {
    const cache = model.createCache({ capacity: PROMPT });
    valuesOf(() => model.forward(row(ids), { cache, last: true }));
    cache.dispose();
  },
});

/** One token after the others; the cache grows meanwhile. */
function decode(model: Model, count: number, name = 'linnet'): Contender {
  const cache = filled(model, count);
  const id = row(Int32Array.of(1));
  return {
    name,
    run: () => {
      valuesOf(() => model.forward(id, { cache, last: true }));
    },
    close: () => {
      cache.dispose();
      id.dispose();
    },
  };
}

/** Writes so many tokens, each read back by the model, and gives the times of each window of them. */
export function timesAlong(model: Model, count: number, window: number): Record<string, Timing> {
  const cache = model.createCache();
  const times: Record<string, Timing> = {};
  let id = 1;
  for (let begin = 0; begin < count; begin += window) {
    const samples: number[] = [];
    for (let i = begin; i < Math.min(begin + window, count); i++) {
      const start = performance.now();
      const logits = valuesOf(() => model.forward(row(Int32Array.of(id)), { cache, last: true }));
      id = logits.indexOf(Math.max(...logits));
      samples.push(performance.now() - start);
    }
    times[`${begin} to ${begin + samples.length}`] = summary(samples);
  }
  cache.dispose();
  return times;
}

const isRecurrent = ({ spec }: Model) => spec.layers.every(({ token }) => token.mixer.type !== 'attention');

async function rivals(model: Model, phase: 'prefill' | 'decode', ids: Int32Array): Promise<Contender[]> {
  const ort = await onnxRuntime(info().threads.count);
  if (ort === undefined) return [];
  const random = uniform(1);
  const one = Int32Array.of(1);
  const states = Object.fromEntries(
    Object.entries(modelOnnx(model, one, { seen: PROMPT, states: {} }).feeds).map(([name, feed]) => [
      name.replace('past', 'present'),
      Float32Array.from((feed as { data: Float32Array }).data, () => random() - 0.5),
    ]),
  );
  const description =
    phase === 'prefill' ? modelOnnx(model, ids) : modelOnnx(model, one, { seen: PROMPT, states });
  const { run, close } = await openSession(ort, description);
  return [{ name: 'onnxruntime-web', start: run, close }];
}

const perSecond = ({ tokens, times }: ModelRow) =>
  Object.entries(times).map(
    ([name, { median }]) => `${name} ${((1000 * tokens) / median).toFixed(0)} tokens/s`,
  );

/** Times prompts and single tokens of whole models with random weights, and single tokens late in long sequences. */
export async function benchModels({ quick, json }: { quick?: boolean; json?: boolean }): Promise<void> {
  const pace = quick ? QUICK : STEADY;
  const rows: ModelRow[] = [];
  const add = (row: ModelRow) => {
    rows.push(row);
    const size = `${(row.parameters / 1e6).toFixed(1)} M`;
    if (!json)
      console.log(`${row.model.padEnd(20)} ${size.padEnd(8)} ${row.phase.padEnd(24)}`, ...perSecond(row));
  };
  for (const [name, config] of Object.entries(configs)) {
    const model = randomModel(config);
    const ids = drawIds(PROMPT, model.spec.vocabSize);
    for (const phase of ['prefill', 'decode'] as const) {
      const own = phase === 'prefill' ? prefill(model, ids) : decode(model, PROMPT);
      const contenders = [own, ...(await rivals(model, phase, ids))];
      const times = await measure(contenders, pace);
      for (const contender of contenders) await contender.close?.();
      const tokens = phase === 'prefill' ? PROMPT : 1;
      const label = `${phase} ${phase === 'prefill' ? `of ${PROMPT}` : `after ${PROMPT}`}`;
      add({ model: name, parameters: parametersOf(model), phase: label, tokens, times });
    }
    model.dispose();
  }
  for (const [name, config] of Object.entries(small)) {
    const model = randomModel(config);
    const contenders = POSITIONS.map((count) => decode(model, count, `after ${count}`));
    const times = await measure(contenders, pace);
    for (const contender of contenders) await contender.close?.();
    const parameters = parametersOf(model);
    add({ model: name, parameters, phase: 'decode', tokens: 1, times });
    if (isRecurrent(model)) {
      const along = timesAlong(model, quick ? LONG / 4 : LONG, quick ? WINDOW / 4 : WINDOW);
      add({ model: name, parameters, phase: 'decode along the way', tokens: 1, times: along });
    }
    model.dispose();
  }
  if (json) console.log(JSON.stringify(rows, null, 2));
}
