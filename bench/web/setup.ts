/// <reference types="vite/client" />
// What both pages need before linnet can start.
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import { element, STYLE } from '../page/page';

setWasmPaths({
  'tfjs-backend-wasm.wasm': plain,
  'tfjs-backend-wasm-simd.wasm': simd,
  'tfjs-backend-wasm-threaded-simd.wasm': threaded,
});
document.head.append(element(document, 'style', STYLE));

export const form = document.querySelector<HTMLFormElement>('#choice')!;
const progress = document.querySelector('progress')!;
const status = document.querySelector('#status')!;

export function field<E extends HTMLElement = HTMLInputElement>(name: string): E {
  return form.elements.namedItem(name) as E;
}

export function fillOptions(select: HTMLSelectElement, names: readonly string[]): void {
  select.replaceChildren(...names.map((name) => new Option(name)));
}

/** Shows how far a run is, and lets the page draw it. */
export async function show(share: number, text: string): Promise<void> {
  progress.value = share;
  status.textContent = text;
  await new Promise((resolve) => setTimeout(resolve));
}
