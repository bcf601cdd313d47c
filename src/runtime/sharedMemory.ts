/** Pages of the shared memory that tfjs's threaded build declares: 4 GiB. */
const MAXIMUM_PAGES = 65536;
const IMPORT_SECTION = 2;
const MEMORY = 2;
const SHARED_WITH_MAXIMUM = 3;

function leb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const low = rest & 127;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 128);
    if (rest === 0) return bytes;
  }
}

/**
 * The same kernels for a shared memory. A module says in its one import whether the memory it takes is shared, and
 * nothing else in it differs, so the import is rewritten instead of shipping every binary twice.
 */
export function forSharedMemory(binary: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let at = 8;
  const read = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (binary[at] !== IMPORT_SECTION) {
    at++;
    const size = read();
    at += size;
  }
  const start = at++;
  const size = read();
  const end = at + size;
  read(); // one import, as the build checks
  for (let name = 0; name < 2; name++) {
    const length = read();
    at += length;
  }
  const kind = at++;
  at++;
  const minimum = read();
  if (binary[kind] !== MEMORY || at !== end)
    throw new Error('linnet: a kernel binary must import its memory alone');
  const limits = [SHARED_WITH_MAXIMUM, ...leb(minimum), ...leb(MAXIMUM_PAGES)];
  const body = [...leb(1), ...binary.subarray(end - size + 1, kind + 1), ...limits];
  const section = [IMPORT_SECTION, ...leb(body.length), ...body];
  const result = new Uint8Array(start + section.length + binary.length - end);
  result.set(binary.subarray(0, start));
  result.set(section, start);
  result.set(binary.subarray(end), start + section.length);
  return result;
}
