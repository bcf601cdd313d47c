import { engine } from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, it, vi } from 'vitest';
import { createModel } from '../../src/models';
import { configOf } from '../models/checkpoint';
import { randomWeights, writeSafetensors } from '../models/write';
import type { Program } from './blocks';

/** A small model at the address that the docs use. */
async function served(url: string | URL): Promise<Response> {
  const config = configOf('llama');
  if (`${url}` === 'https://example.org/model/config.json') return Response.json(config);
  if (`${url}` === 'https://example.org/model/model.safetensors') {
    const tensors = createModel(config).parameters.flatMap(({ recipes }) => recipes[0].sources);
    return new Response(writeSafetensors(randomWeights(tensors)));
  }
  return new Response(null, { status: 404 });
}

/** A test for each program; what it does not dispose is disposed after it. */
export function runEach(programs: readonly Program[]) {
  beforeEach(() => {
    vi.spyOn(console, 'log').mockImplementation(() => {});
    vi.stubGlobal('fetch', served);
    engine().startScope();
  });
  afterEach(() => {
    engine().endScope();
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });
  it.each(programs)('$name runs', ({ file }) => import(/* @vite-ignore */ file));
}
