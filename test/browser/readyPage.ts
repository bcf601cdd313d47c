// What a page of an app does first.

import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { info, ready } from '../../src/index';

async function run() {
  setWasmPaths('/wasm/');
  await ready();
  return info().threads;
}

Object.assign(globalThis, { result: run() });
