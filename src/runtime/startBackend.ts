import { env, setBackend } from '@tensorflow/tfjs-core';
import { isNode } from './node';

const THREADS = 'WASM_HAS_MULTITHREAD_SUPPORT';
/** Far longer than loading and starting takes. */
const GIVEN_UP_MS = 60_000;

let failure: string | undefined;

/** Why tfjs's threaded build did not start in this page, if it was tried. */
export const threadedFailure = () => failure;

/** Settles when tfjs's threaded build fails: it throws the error of its worker into the air and waits on. */
function failureOfWorkers(stop: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const fail = (cause: string) => resolve(`tfjs's threaded build did not start: ${cause}`);
    const late = setTimeout(() => fail(`it gave no answer in ${GIVEN_UP_MS / 1000} s`), GIVEN_UP_MS);
    stop.addEventListener('abort', () => clearTimeout(late));
    const onError = (event: ErrorEvent) => {
      if (!(event.error instanceof ErrorEvent)) return;
      event.preventDefault();
      fail(`${event.error.message || 'its worker did not load'} (minifiers break its workers)`);
    };
    globalThis.addEventListener('error', onError as never, { signal: stop });
  });
}

/**
 * Makes the wasm backend current: tfjs takes its threaded build in a cross-origin isolated page, and where that does not
 * come up, it gets to start the other one.
 */
export async function startWasmBackend(): Promise<boolean> {
  if (isNode || !(await env().getAsync(THREADS))) return setBackend('wasm');
  const over = new AbortController();
  try {
    const outcome = await Promise.race([setBackend('wasm'), failureOfWorkers(over.signal)]);
    if (typeof outcome === 'boolean') return outcome;
    failure = outcome;
  } finally {
    over.abort();
  }
  env().set(THREADS, false);
  return setBackend('wasm');
}
