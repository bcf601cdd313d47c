/** A tensor of a safetensors file, as float32 or int32. */
export interface Stored {
  dtype: 'float32' | 'int32';
  shape: number[];
  data: Float32Array | Int32Array;
}

/** Where a tensor lies in a safetensors file, in bytes after the header. */
export interface Entry {
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

let float16Table: Float32Array | undefined;

function int64(name: string, value: bigint): number {
  if (value !== BigInt.asIntN(32, value)) {
    throw new RangeError(`safetensors: ${name} holds ${value}, which is no int32`);
  }
  return Number(value);
}

/**
 * Little-endian numbers at any alignment: F32, F16 and BF16 as float32, I64, I32 and U8 as int32.
 *
 * @throws RangeError for an I64 beyond int32
 */
export function decode(name: string, { dtype, shape }: Entry, bytes: Uint8Array): Stored {
  // a copy where numbers are not aligned; the slice of a Node buffer is none
  const { buffer, byteOffset: offset } = bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes);
  const count = bytes.byteLength / BYTES[dtype];
  const floats = (data: Float32Array): Stored => ({ dtype: 'float32', shape, data });
  const integers = (data: Int32Array): Stored => ({ dtype: 'int32', shape, data });
  switch (dtype) {
    case 'F32':
      return floats(new Float32Array(buffer, offset, count));
    case 'F16': {
      float16Table ??= Float32Array.from({ length: 65536 }, (_, bits) => float16(bits));
      const [halves, table, data] = [
        new Uint16Array(buffer, offset, count),
        float16Table,
        new Float32Array(count),
      ];
      for (let i = 0; i < count; i++) data[i] = table[halves[i]];
      return floats(data);
    }
    case 'BF16': {
      const [halves, bits] = [new Uint16Array(buffer, offset, count), new Uint32Array(count)];
      for (let i = 0; i < count; i++) bits[i] = halves[i] << 16;
      return floats(new Float32Array(bits.buffer));
    }
    case 'I64':
      return integers(
        Int32Array.from(new BigInt64Array(buffer, offset, count), (value) =>
          int64(name, value as unknown as bigint),
        ),
      );
    case 'I32':
      return integers(new Int32Array(buffer, offset, count));
    default:
      return integers(Int32Array.from(new Uint8Array(buffer, offset, count)));
  }
}

/** The bytes of the header, from the first eight of a file. */
export function headerLength(first: Uint8Array, size: number): number {
  const view = new DataView(first.buffer, first.byteOffset, first.byteLength);
  const bytes = first.length < 8 ? undefined : Number(view.getBigUint64(0, true));
  if (bytes === undefined || bytes > size - 8) {
    throw new RangeError(`safetensors: ${size} bytes do not hold the header they announce`);
  }
  return bytes;
}

/**
 * The tensors a header announces, each checked to lie within the `available` bytes after it.
 *
 * @throws TypeError for a dtype other than F32, F16, BF16, I64, I32 and U8
 * @throws RangeError for a tensor that does not fit the file or its shape
 */
export function parseHeader(header: Uint8Array, available: number): Map<string, Entry> {
  const parsed: Record<string, Entry> = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(header));
  const entries = Object.entries(parsed).filter(([name]) => name !== '__metadata__');
  for (const [name, { dtype, shape, data_offsets }] of entries) {
    const [begin, end] = data_offsets;
    if (!(dtype in BYTES)) {
      throw new TypeError(
        `safetensors: ${name} has dtype ${dtype}; expected one of ${Object.keys(BYTES).join(', ')}`,
      );
    }
    const bytes = shape.reduce((n, size) => n * size, 1) * BYTES[dtype];
    const inFile = Number.isInteger(begin) && begin >= 0 && end <= available;
    if (!inFile || end - begin !== bytes) {
      throw new RangeError(
        `safetensors: ${name} lies at [${begin}, ${end}) of ${available} bytes; ` +
          `expected ${bytes} bytes for ${dtype} [${shape}]`,
      );
    }
  }
  return new Map(entries);
}

/**
 * Every tensor of a safetensors file by name.
 *
 * @throws TypeError, RangeError as `parseHeader` and `decode` do
 */
export function parseSafetensors(file: Uint8Array): Record<string, Stored> {
  const begin = 8 + headerLength(file.subarray(0, 8), file.length);
  const entries = parseHeader(file.subarray(8, begin), file.length - begin);
  return Object.fromEntries(
    [...entries].map(([name, entry]) => {
      const [from, to] = entry.data_offsets;
      return [name, decode(name, entry, file.subarray(begin + from, begin + to))];
    }),
  );
}
