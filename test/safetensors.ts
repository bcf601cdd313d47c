import { readFileSync } from 'node:fs';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';

/** A tensor of a safetensors file, as float32 or int32. */
export interface Stored {
  dtype: 'float32' | 'int32';
  shape: number[];
  data: Float32Array | Int32Array;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [begin: number, end: number];
}

const BYTES: Record<string, number> = { F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1 };

function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function int64(name: string, value: bigint): number {
  if (value !== BigInt.asIntN(32, value)) {
    throw new RangeError(`safetensors: ${name} holds ${value}, which is no int32`);
  }
  return Number(value);
}

/** Little-endian numbers at any alignment. */
function decode(name: string, dtype: string, view: DataView, count: number): Float32Array | Int32Array {
  const each = (read: (at: number) => number) => ({
    length: count,
    [Symbol.iterator]: function* () {
      for (let i = 0; i < count; i++) yield read(i * BYTES[dtype]);
    },
  });
  switch (dtype) {
    case 'F32':
      return Float32Array.from(each((at) => view.getFloat32(at, true)));
    case 'F16':
      return Float32Array.from(each((at) => float16(view.getUint16(at, true))));
    case 'BF16': {
      const bits = Uint32Array.from(each((at) => view.getUint16(at, true) << 16));
      return new Float32Array(bits.buffer);
    }
    case 'I64':
      return Int32Array.from(each((at) => int64(name, view.getBigInt64(at, true))));
    case 'I32':
      return Int32Array.from(each((at) => view.getInt32(at, true)));
    default:
      return Int32Array.from(each((at) => view.getUint8(at)));
  }
}

function parseHeader(file: Uint8Array): { header: Record<string, Entry>; data: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bytes = file.length < 8 ? undefined : Number(view.getBigUint64(0, true));
  if (bytes === undefined || bytes > file.length - 8) {
    throw new RangeError(`safetensors: ${file.length} bytes do not hold the header they announce`);
  }
  const text = new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(8, 8 + bytes));
  return { header: JSON.parse(text), data: 8 + bytes };
}

/**
 * Every tensor of a safetensors file by name: F32, F16 and BF16 as float32, I64, I32 and U8 as int32.
 *
 * @throws TypeError for another dtype
 * @throws RangeError for a header or tensor that does not fit the file, or an I64 beyond int32
 */
export function parseSafetensors(file: Uint8Array): Record<string, Stored> {
  const { header, data } = parseHeader(file);
  const available = file.length - data;
  const result: Record<string, Stored> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape } = entry;
    const [begin, end] = entry.data_offsets;
    if (!(dtype in BYTES)) {
      throw new TypeError(
        `safetensors: ${name} has dtype ${dtype}; expected one of ${Object.keys(BYTES).join(', ')}`,
      );
    }
    const count = shape.reduce((n, size) => n * size, 1);
    const inFile = Number.isInteger(begin) && begin >= 0 && end <= available;
    if (!inFile || end - begin !== count * BYTES[dtype]) {
      throw new RangeError(
        `safetensors: ${name} lies at [${begin}, ${end}) of ${available} bytes; ` +
          `expected ${count * BYTES[dtype]} bytes for ${dtype} [${shape}]`,
      );
    }
    const view = new DataView(file.buffer, file.byteOffset + data + begin, end - begin);
    const values = decode(name, dtype, view, count);
    result[name] = { dtype: values instanceof Float32Array ? 'float32' : 'int32', shape, data: values };
  }
  return result;
}

/** Every tensor of a safetensors file by name, as tensors. */
export function readSafetensors(path: URL): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(parseSafetensors(readFileSync(path))).map(([name, { data, shape, dtype }]) => [
      name,
      tensor(data, shape, dtype),
    ]),
  );
}
