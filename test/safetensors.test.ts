import { describe, expect, it } from 'vitest';
import { parseSafetensors } from '../src/models/decode';

type Entries = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** A file with the given header, its payload at an address that is a multiple of nothing. */
function fileOf(entries: Entries | { __metadata__: object }, payload: ArrayBuffer): Uint8Array {
  const header = new TextEncoder().encode(JSON.stringify(entries));
  const file = new Uint8Array(1 + 8 + header.length + payload.byteLength).subarray(1);
  new DataView(file.buffer, 1).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  file.set(new Uint8Array(payload), 8 + header.length);
  return file;
}

const one = (dtype: string, shape: number[], payload: ArrayBuffer) =>
  parseSafetensors(fileOf({ x: { dtype, shape, data_offsets: [0, payload.byteLength] } }, payload)).x;

describe('dtypes', () => {
  it.each([
    ['F32', Float32Array.of(1.5, -0.1, Infinity, Number.NaN), [1.5, Math.fround(-0.1), Infinity, Number.NaN]],
    ['BF16', Uint16Array.of(0x3f80, 0xc049, 0xff80, 0x7fc0), [1, -3.140625, -Infinity, Number.NaN]],
    ['F16', Uint16Array.of(0x3c00, 0xc248, 0x0001, 0x03ff), [1, -3.140625, 2 ** -24, 1023 * 2 ** -24]],
    ['F16', Uint16Array.of(0x7bff, 0x8000, 0xfc00, 0x7e00), [65504, -0, -Infinity, Number.NaN]],
  ])('%s is read as float32', (dtype, stored, expected) => {
    const { data, shape, dtype: read } = one(dtype, [2, 2], stored.buffer);
    expect([...data]).toEqual(expected);
    expect([shape, read]).toEqual([[2, 2], 'float32']);
  });

  it.each([
    ['I32', Int32Array.of(1, -(2 ** 31)), [1, -(2 ** 31)]],
    ['I64', BigInt64Array.of(7n, -(2n ** 31n)), [7, -(2 ** 31)]],
    ['U8', Uint8Array.of(0, 255), [0, 255]],
  ])('%s is read as int32', (dtype, stored, expected) => {
    const { data, dtype: read } = one(dtype, [2], stored.buffer);
    expect([...data]).toEqual(expected);
    expect(read).toBe('int32');
  });
});

it('reads scalars and empty tensors, and leaves the metadata out', () => {
  const entries = {
    __metadata__: { format: 'pt' },
    scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] as [number, number] },
    empty: { dtype: 'F32', shape: [3, 0], data_offsets: [4, 4] as [number, number] },
  };
  const read = parseSafetensors(fileOf(entries, Float32Array.of(2).buffer));
  expect(Object.keys(read)).toEqual(['scalar', 'empty']);
  expect([...read.scalar.data]).toEqual([2]);
  expect(read.empty).toEqual({ dtype: 'float32', shape: [3, 0], data: new Float32Array(0) });
});

describe('errors', () => {
  const payload = new ArrayBuffer(8);
  it.each<[string, [number, number]]>([
    ['past the end', [4, 12]],
    ['before the begin', [-4, 4]],
    ['the wrong size', [0, 4]],
    ['backwards', [8, 0]],
    ['fractional', [0.5, 8.5]],
  ])('offsets: %s', (_, data_offsets) => {
    expect(() =>
      parseSafetensors(fileOf({ x: { dtype: 'F32', shape: [2], data_offsets } }, payload)),
    ).toThrow(
      `safetensors: x lies at [${data_offsets[0]}, ${data_offsets[1]}) of 8 bytes; expected 8 bytes for F32 [2]`,
    );
  });

  it('dtype', () => {
    expect(() => one('F64', [1], payload)).toThrow(
      'safetensors: x has dtype F64; expected one of F32, F16, BF16, I64, I32, U8',
    );
  });

  it('an I64 beyond int32', () => {
    expect(() => one('I64', [1], BigInt64Array.of(2n ** 31n).buffer)).toThrow(
      'safetensors: x holds 2147483648, which is no int32',
    );
  });

  it('header', () => {
    expect(() => parseSafetensors(new Uint8Array(7))).toThrow('7 bytes do not hold the header');
    expect(() => parseSafetensors(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))).toThrow('8 bytes do not hold');
  });
});
