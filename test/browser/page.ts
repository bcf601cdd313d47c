// What the browser test runs in a page: every op of the catalog against its reference.

import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { catalog } from '../../src/catalog';
import { verify } from '../../src/cli/verify';
import { type Info, info, ready } from '../../src/index';
import { worthwhile } from '../../src/runtime/launch';

export interface PageResult {
  info: Info;
  ops: number;
  failed: string[];
}

async function run(): Promise<PageResult> {
  setWasmPaths('/wasm/');
  await ready();
  worthwhile.ms = 0;
  const failed = catalog.filter((entry) => !verify(entry).passed).map(({ name }) => name);
  return { info: info(), ops: catalog.length, failed };
}

Object.assign(globalThis, { result: run() });
