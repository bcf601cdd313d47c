import { getBackend } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { version } from '../package.json';
import { info, ready } from '../src/index';
import { memoryOf, type WasmBackend } from '../src/runtime/heap';

const WASM = '@tensorflow/tfjs-backend-wasm';
afterEach(() => vi.doUnmock(WASM));

/** `ready` of a copy of linnet that meets another backend package. */
async function readyWith(factory: () => object): Promise<typeof ready> {
  vi.resetModules();
  vi.doMock(WASM, factory);
  return (await import('../src/runtime/ready')).ready;
}

describe('ready', () => {
  it('refuses another version of tfjs and says how to get the right one', async () => {
    const other = await readyWith(() => ({ version_wasm: '4.21.0' }));
    await expect(other()).rejects.toThrow(
      'ready: @tensorflow/tfjs-backend-wasm is version 4.21.0; linnet works with 4.22. ' +
        'npm install @tensorflow/tfjs-backend-wasm@4.22.0',
    );
  });

  it('says what is missing when the wasm backend is not installed', async () => {
    const missing = await readyWith(() => {
      throw new Error('Cannot find package');
    });
    await expect(missing()).rejects.toThrow(
      'ready: cannot load @tensorflow/tfjs-backend-wasm. npm install @tensorflow/tfjs-backend-wasm@4.22.0',
    );
  });

  it('names the backends there are when the one asked for did not start', async () => {
    await expect(ready({ backend: 'webgpu' })).rejects.toThrow("Backend name 'webgpu' not found in registry");
    expect(getBackend()).toBe('wasm');
  });

  it('refuses relaxed SIMD where the engine has none', async () => {
    if (info().simd.reason === 'the engine has relaxed SIMD') return;
    await expect(ready({ simd: 'relaxed' })).rejects.toThrow(
      "ready: simd: 'relaxed' asked for, but this engine has no relaxed SIMD; use 'auto' or 'simd'",
    );
  });

  it.each([2, 'auto'] as const)(
    'computes on one thread in Deno and says why, asked for %s',
    async (threads) => {
      const warn = vi.spyOn(console, 'warn').mockReturnValue();
      vi.stubGlobal('Deno', {});
      try {
        await ready({ threads });
        const reason = "tfjs's threaded build does not start in Deno";
        expect(info().threads).toEqual({ count: 1, reason });
        expect(warn.mock.calls).toEqual([[`linnet: ${reason}; computing on one thread`]]);
      } finally {
        vi.unstubAllGlobals();
        warn.mockRestore();
        await ready();
      }
    },
  );

  it('can be called again', async () => {
    await ready();
    await ready({ simd: 'simd' });
    expect(info().simd.level).toBe('simd');
    await ready();
  });
});

it('a backend whose memory cannot be found is named', () => {
  const strange = { wasm: { asm: {}, _malloc: () => 0, _free: () => {} } } as unknown as WasmBackend;
  expect(() => memoryOf(strange)).toThrow(
    'linnet: cannot find the memory of the tfjs wasm backend (looked at wasm.asm.memory and wasm.wasmMemory); ' +
      'linnet works with @tensorflow/tfjs-backend-wasm 4.22',
  );
});

it('info tells what linnet runs on', () => {
  const { heapBytes, ...rest } = info();
  expect(rest).toEqual({
    version,
    backend: 'wasm',
    simd: { level: expect.stringMatching(/^(simd|relaxed)$/), reason: expect.any(String) },
    threads: { count: 1, reason: 'the default' },
  });
  expect(heapBytes).toBeGreaterThanOrEqual(16 * 2 ** 20);
});
