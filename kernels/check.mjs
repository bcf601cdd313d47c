// A kernel shares the memory of tfjs, whose own data lies at its bottom: a data segment or a start function
// would overwrite it, and any import other than the memory means the compiler pulled in a runtime.

const SECTIONS = { 2: 'import', 8: 'start', 11: 'data' };

function sectionIds(binary) {
  const ids = new Set();
  let at = 8;
  while (at < binary.length) {
    const id = binary[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[at++];
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    ids.add(id);
    at += size;
  }
  return ids;
}

/** Throws unless `binary` imports its memory and nothing else, and has neither data segments nor a start function. */
export async function checkKernelBinary(name, binary) {
  const present = sectionIds(binary);
  for (const id of [8, 11]) {
    if (present.has(id))
      throw new Error(`${name}: the binary has a ${SECTIONS[id]} section; the memory is shared with tfjs`);
  }
  const imports = WebAssembly.Module.imports(await WebAssembly.compile(binary));
  const foreign = imports.filter((entry) => entry.kind !== 'memory');
  if (foreign.length > 0) {
    const names = foreign.map((entry) => `${entry.module}.${entry.name}`).join(', ');
    throw new Error(`${name}: the binary imports ${names}; only the memory may be imported`);
  }
  if (imports.length !== 1) throw new Error(`${name}: the binary does not import the memory`);
}
