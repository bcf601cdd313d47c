import type { Tensor } from '@tensorflow/tfjs-core';
import { checkTensor } from '../tensor/shape';

/** Slots of one expert that a kernel works on at a time. */
const BLOCK_SLOTS = 128;
/** A histogram over more experts than this per slot takes longer than sorting the slots by comparison. */
const EXPERTS_PER_SLOT = 16;

/** Who chose whom: `token`, indices [N, k] are experts; `expert`, indices [E, C] are tokens. -1 is no one. */
export type ChosenBy = 'token' | 'expert';

/** Every chosen (token, expert) pair is a slot; slots are sorted by expert, those of one expert in token order. */
export interface Plan {
  /** By slot. */
  token: Int32Array;
  expert: Int32Array;
  /** By slot: its place in the routing weights. */
  weight: Int32Array;
  /** Expert, first slot, number of slots: runs of at most BLOCK_SLOTS slots of one expert. */
  blocks: Int32Array;
  /** Slots of each token are `order[start[token]]` to `order[start[token + 1] - 1]`, in the order they were chosen. */
  start: Int32Array;
  order: Int32Array;
}

export function planOf(
  indices: ArrayLike<number>,
  columns: number,
  N: number,
  E: number,
  by: ChosenBy,
): Plan {
  const chosen = placesOfChosen(indices);
  const rows = chosen.map((place) => Math.floor(place / columns));
  const named = chosen.map((place) => indices[place]);
  const [expertOf, tokenOf] = by === 'token' ? [named, rows] : [rows, named];

  const sorted = by === 'token' ? stableOrder(expertOf, E) : ascending(chosen.length);
  const slotOf = new Int32Array(chosen.length);
  for (let slot = 0; slot < sorted.length; slot++) slotOf[sorted[slot]] = slot;
  const order = by === 'token' ? slotOf : stableOrder(tokenOf, N).map((i) => slotOf[i]);

  const start = new Int32Array(N + 1);
  for (const token of tokenOf) start[token + 1]++;
  for (let t = 0; t < N; t++) start[t + 1] += start[t];
  const expert = sorted.map((i) => expertOf[i]);
  return {
    token: sorted.map((i) => tokenOf[i]),
    expert,
    weight: sorted.map((i) => chosen[i]),
    blocks: blocksOf(expert),
    start,
    order,
  };
}

function placesOfChosen(indices: ArrayLike<number>): Int32Array {
  const places = new Int32Array(indices.length);
  let count = 0;
  for (let place = 0; place < indices.length; place++) if (indices[place] >= 0) places[count++] = place;
  return places.subarray(0, count);
}

function ascending(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i);
}

/** The positions of `keys`, which are below `count`, in ascending order of key; equal keys keep their order. */
function stableOrder(keys: Int32Array, count: number): Int32Array {
  if (count > EXPERTS_PER_SLOT * keys.length)
    return ascending(keys.length).sort((a, b) => keys[a] - keys[b] || a - b);
  const next = new Int32Array(count + 1);
  for (const key of keys) next[key + 1]++;
  for (let k = 0; k < count; k++) next[k + 1] += next[k];
  const order = new Int32Array(keys.length);
  for (let i = 0; i < keys.length; i++) order[next[keys[i]]++] = i;
  return order;
}

function blocksOf(expert: Int32Array): Int32Array {
  const blocks: number[] = [];
  for (let first = 0, last = 0; first < expert.length; first = last) {
    while (last < expert.length && expert[last] === expert[first] && last - first < BLOCK_SLOTS) last++;
    blocks.push(expert[first], first, last - first);
  }
  return Int32Array.from(blocks);
}

/** Blocks of slots that are sorted already, `sizes[e]` of them for expert e. */
export function blocksOfSizes(sizes: ArrayLike<number>): Int32Array {
  const blocks: number[] = [];
  let first = 0;
  for (let e = 0; e < sizes.length; e++) {
    for (let i = 0; i < sizes[e]; i += BLOCK_SLOTS) {
      blocks.push(e, first + i, Math.min(BLOCK_SLOTS, sizes[e] - i));
    }
    first += sizes[e];
  }
  return Int32Array.from(blocks);
}

/** Where each expert's slots begin, and where the last one's end. */
export function offsetsOf(sizes: ArrayLike<number>): Int32Array {
  const offsets = new Int32Array(sizes.length + 1);
  for (let e = 0; e < sizes.length; e++) offsets[e + 1] = offsets[e] + sizes[e];
  return offsets;
}

export function sizesOf(expert: ArrayLike<number>, E: number): Int32Array {
  const sizes = new Int32Array(E);
  for (let i = 0; i < expert.length; i++) sizes[expert[i]]++;
  return sizes;
}

/** Copies a table of int32 to scratch memory of a kernel call and returns its address. */
export function upload(
  call: { scratch(bytes: number): number; buffer(): ArrayBufferLike },
  table: Int32Array,
): number {
  const pointer = call.scratch(table.byteLength);
  new Int32Array(call.buffer(), pointer, table.length).set(table);
  return pointer;
}

/** @throws RangeError unless every index is an integer in [least, size). */
export function checkIndices(
  op: string,
  name: string,
  indices: Tensor,
  size: number,
  of: string,
  least = 0,
): Int32Array {
  checkTensor(op, name, indices, 'int32');
  const values = indices.dataSync() as Int32Array;
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] >= least && values[i] < size)) {
      throw new RangeError(
        `${op}: ${name}[${i}] is ${values[i]}; expected ${least} to ${size - 1} (${size} ${of}${least < 0 ? ', -1 for none' : ''})`,
      );
    }
  }
  return values;
}
