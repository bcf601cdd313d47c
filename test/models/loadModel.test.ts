import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { memory, tidy } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createModel, loadModel, type Safetensors } from '../../src/models';
import { idsOf } from './harness';
import { type Numbers, randomWeights, writeSafetensors } from './write';

const config = {
  model_type: 'llama',
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
};

const sources = (model: ReturnType<typeof createModel>) =>
  model.parameters.flatMap(({ recipes }) => recipes[0].sources);

const weights = randomWeights(sources(createModel(config)));
const names = Object.keys(weights);
const part = (from: number, to?: number): Numbers =>
  Object.fromEntries(Object.entries(weights).slice(from, to));
const file = writeSafetensors(weights);
const shards = [writeSafetensors(part(0, 7)), writeSafetensors(part(7))];
const index = JSON.stringify({
  weight_map: Object.fromEntries(names.map((name, i) => [name, `model-${i < 7 ? 1 : 2}.safetensors`])),
});

async function logitsOf(files: Safetensors, asked: string | object = config): Promise<number[]> {
  const model = await loadModel(asked, files);
  const logits = tidy(() => [...model.forward(idsOf([[1, 5, 3, 9]])).dataSync()]);
  model.dispose();
  return logits;
}

let expected: number[];
let folder: string;
beforeAll(async () => {
  expected = await logitsOf(file);
  folder = await mkdtemp(join(tmpdir(), 'linnet-'));
  await writeFile(join(folder, 'model.safetensors'), file);
  await writeFile(join(folder, 'model-1.safetensors'), shards[0]);
  await writeFile(join(folder, 'model-2.safetensors'), shards[1]);
  await writeFile(join(folder, 'model.safetensors.index.json'), index);
});
afterAll(() => rm(folder, { recursive: true }));

describe('from', () => {
  it('bytes, an ArrayBuffer, a Blob, a File', async () => {
    expect(expected.length).toBe(4 * 11);
    expect(expected.every((x) => Number.isFinite(x) && x !== 0)).toBe(true);
    for (const given of [file.buffer, new Blob([file]), new File([file], 'model.safetensors')]) {
      expect(await logitsOf(given)).toEqual(expected);
    }
  });

  it('a path, a file URL, an index of shards, all shards', async () => {
    const path = join(folder, 'model.safetensors');
    for (const given of [path, pathToFileURL(path), `${path}.index.json`, shards.map((s) => new Blob([s]))]) {
      expect(await logitsOf(given)).toEqual(expected);
    }
  });

  it('a config as text', async () => {
    expect(await logitsOf(file, JSON.stringify(config))).toEqual(expected);
  });

  it.each(['F16', 'BF16'] as const)('%s', async (dtype) => {
    // all weights have few enough bits for F16 and, cut, for BF16
    const cut = writeSafetensors(weights, dtype);
    const same = await logitsOf(cut);
    if (dtype === 'F16') expect(same).toEqual(expected);
    else expect(same.every((x, i) => Math.abs(x - expected[i]) < 0.2)).toBe(true);
    expect(cut.length).toBeLessThan(0.7 * file.length);
  });
});

describe('from a URL', () => {
  const requests: (string | undefined)[] = [];
  let ranges = true;
  const server = createServer((request, response) => {
    requests.push(request.headers.range);
    const content =
      request.url === '/m/model.safetensors.index.json'
        ? Buffer.from(index)
        : request.url === '/m/model-1.safetensors'
          ? shards[0]
          : request.url === '/m/model-2.safetensors'
            ? shards[1]
            : request.url === '/m/model.safetensors'
              ? file
              : undefined;
    if (content === undefined) return void response.writeHead(404).end();
    const asked = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '');
    if (!ranges || asked === null) return void response.writeHead(200).end(content);
    const [begin, end] = [Number(asked[1]), Math.min(Number(asked[2]), content.length - 1)];
    response
      .writeHead(206, { 'Content-Range': `bytes ${begin}-${end}/${content.length}` })
      .end(content.subarray(begin, end + 1));
  });
  let base: string;
  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m`;
  });
  afterAll(() => void server.close());

  it('tensors come one by one', async () => {
    ranges = true;
    requests.length = 0;
    expect(await logitsOf(`${base}/model.safetensors`)).toEqual(expected);
    expect(requests.length).toBe(names.length + 2);
    expect(requests.every((range) => range !== undefined)).toBe(true);
  });

  it('shards lie beside their index', async () => {
    expect(await logitsOf(new URL(`${base}/model.safetensors.index.json`))).toEqual(expected);
  });

  it('a server without ranges is asked once', async () => {
    ranges = false;
    requests.length = 0;
    expect(await logitsOf(`${base}/model.safetensors`)).toEqual(expected);
    expect(requests.length).toBe(1);
  });

  it('what is not there is said', async () => {
    await expect(logitsOf(`${base}/other.safetensors`)).rejects.toThrow(
      `${base}/other.safetensors: 404 Not Found`,
    );
  });
});

describe('progress and errors', () => {
  it('progress ends with all bytes', async () => {
    const seen: [loaded: number, total: number][] = [];
    const model = await loadModel(config, file, {
      onProgress: ({ loaded, total }) => seen.push([loaded, total]),
    });
    const count = model.parameters.length;
    model.dispose();
    const bytes = 4 * Object.values(weights).reduce((n, { data }) => n + data.length, 0);
    expect(seen.length).toBe(count);
    expect(seen.every(([loaded, total], i) => total === bytes && loaded > (seen[i - 1]?.[0] ?? 0))).toBe(
      true,
    );
    expect(seen.at(-1)).toEqual([bytes, bytes]);
  });

  it('an aborted load leaves nothing behind', async () => {
    const before = memory().numTensors;
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error('enough'));
    await expect(loadModel(config, file, { onProgress, signal: controller.signal })).rejects.toThrow(
      'enough',
    );
    expect(memory().numTensors).toBe(before);
  });

  const without = (name: string) => {
    const { [name]: _, ...rest } = weights;
    return rest;
  };

  it('missing tensors', async () => {
    await expect(loadModel(config, writeSafetensors(without('model.norm.weight')))).rejects.toThrow(
      'loadModel: the checkpoint lacks model.norm.weight',
    );
    await expect(loadModel(config, writeSafetensors(part(0, 3)))).rejects.toThrow(
      `loadModel: the checkpoint lacks ${names.slice(3, 8).join(', ')} and ${names.length - 8} more`,
    );
  });

  it('unknown tensors', async () => {
    const more = writeSafetensors({ ...weights, 'model.extra': weights['model.norm.weight'] });
    await expect(loadModel(config, more)).rejects.toThrow(
      'loadModel: the checkpoint has model.extra, which the model does not know',
    );
    for (const unknownTensors of ['ignore', /extra$/] as const) {
      (await loadModel(config, more, { unknownTensors })).dispose();
    }
  });

  it('tensors of another shape', async () => {
    await expect(loadModel({ ...config, intermediate_size: 13 }, file)).rejects.toThrow(
      'loadModel: model.layers.0.mlp.gate_proj.weight has shape [12,8]; expected [13,8] from the config',
    );
  });

  it('configs', async () => {
    const { hidden_size: _, ...rest } = config;
    await expect(loadModel(rest, file)).rejects.toThrow(
      'config: hidden_size is undefined; expected a number',
    );
    await expect(loadModel({ ...config, model_type: 'bert' }, file)).rejects.toThrow(
      "config: model_type is 'bert'; expected one of ",
    );
    await expect(loadModel('[]', file)).rejects.toThrow('loadModel: the config must be a JSON object');
  });

  it('files', async () => {
    await expect(loadModel(config, file.subarray(0, 200))).rejects.toThrow('do not hold the header');
    await expect(loadModel(config, file.slice(0, file.length - 1))).rejects.toThrow(/lies at .* expected/);
    await expect(loadModel(config, [file, file])).rejects.toThrow(
      `safetensors: ${names[0]} is in two shards`,
    );
    await expect(loadModel(config, join(folder, 'none.safetensors'))).rejects.toThrow('ENOENT');
  });

  it('a model without weights says so', () => {
    expect(() => createModel(config).forward(idsOf([[1]]))).toThrow(
      'model.embed_tokens.weight is not loaded',
    );
  });
});
