import { uniform } from '../../src/random';

export type Numbers = Record<string, { shape: readonly number[]; data: Float32Array }>;

const HALVES = { F32: 4, F16: 2, BF16: 2 } as const;

/** The nearest half with at most 10 bits of fraction, for numbers that have one. */
function float16Bits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign + ((exponent + 15) << 10) + Math.round((size / 2 ** exponent - 1) * 1024);
}

function encode(data: Float32Array, dtype: keyof typeof HALVES): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(data.slice().buffer);
  if (dtype === 'F16') return new Uint8Array(Uint16Array.from(data, float16Bits).buffer);
  const bits = new Uint32Array(data.slice().buffer);
  return new Uint8Array(Uint16Array.from(bits, (b) => b >>> 16).buffer);
}

/** A safetensors file. */
export function writeSafetensors(
  tensors: Numbers,
  dtype: keyof typeof HALVES = 'F32',
): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const bytes = encode(data, dtype);
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
    parts.push(bytes);
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  let at = 8 + text.length;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Weights that let every layer show: vectors around 1, matrices of unit gain, all with few bits. */
export function randomWeights(
  shapes: Iterable<{ name: string; shape: readonly number[] }>,
  seed = 1,
): Numbers {
  const random = uniform(seed);
  const weights: Numbers = {};
  for (const { name, shape } of shapes) {
    const size = shape.reduce((n, d) => n * d, 1);
    const gain = shape.length < 2 ? 0.5 : Math.sqrt(3 / shape.at(-1)!);
    const shift = shape.length < 2 && /norm|ln/.test(name) && name.endsWith('weight') ? 1 : 0;
    const draw = () => Math.round(256 * (shift + gain * (2 * random() - 1))) / 256;
    weights[name] ??= { shape, data: Float32Array.from({ length: size }, draw) };
  }
  return weights;
}
