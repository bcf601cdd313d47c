import { type ByteSource, byteSource, type FileLike, sibling } from './bytes';
import { decode, type Entry, headerLength, parseHeader, type Stored } from './decode';

/** A safetensors file, the index (`.index.json`) of a sharded one, or all of its shards. */
export type Safetensors = FileLike | readonly FileLike[];

/** The tensors of a checkpoint, read one by one. */
export interface Checkpoint {
  readonly entries: ReadonlyMap<string, Pick<Entry, 'shape'>>;
  /** Of a tensor as it is stored. */
  bytes(name: string): number;
  read(name: string): Promise<Stored>;
  close(): Promise<void>;
}

interface Located extends Entry {
  source: ByteSource;
  begin: number;
}

async function shardsOf(index: string | URL, signal: AbortSignal | undefined) {
  const source = byteSource(index, signal);
  const text = new TextDecoder().decode(await source.read(0, await source.size()));
  await source.close();
  const map = (JSON.parse(text) as { weight_map?: Record<string, string> }).weight_map;
  if (map === undefined) throw new TypeError(`safetensors: ${index} has no weight_map`);
  const files = [...new Set(Object.values(map))].map((name) => sibling(index, name));
  return { files, announced: Object.keys(map) };
}

const isIndex = (file: FileLike): file is string | URL =>
  (typeof file === 'string' || file instanceof URL) &&
  String(file)
    .replace(/[?#].*/, '')
    .endsWith('.json');

/**
 * Reads the headers of a checkpoint; its tensors are read when they are asked for.
 *
 * @throws TypeError, RangeError for a file that is no safetensors file, an index that names tensors its shards do not
 *   hold, or a tensor that is in two shards
 */
export async function openSafetensors(files: Safetensors, signal?: AbortSignal): Promise<Checkpoint> {
  let announced: string[] = [];
  let list = (Array.isArray(files) ? files : [files]) as readonly FileLike[];
  if (list.length === 1 && isIndex(list[0])) ({ files: list, announced } = await shardsOf(list[0], signal));
  const sources = list.map((file) => byteSource(file, signal));
  const close = async () => {
    await Promise.all(sources.map((source) => source.close()));
  };
  const entries = new Map<string, Located>();
  try {
    for (const source of sources) {
      const first = await source.read(0, 8);
      const size = await source.size();
      const begin = 8 + headerLength(first, size);
      for (const [name, entry] of parseHeader(await source.read(8, begin), size - begin)) {
        if (entries.has(name)) throw new RangeError(`safetensors: ${name} is in two shards`);
        entries.set(name, { ...entry, source, begin });
      }
    }
    const lost = announced.filter((name) => !entries.has(name));
    if (lost.length > 0)
      throw new RangeError(`safetensors: the index names ${lost[0]}, which is in no shard`);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    entries,
    bytes: (name) => entries.get(name)!.data_offsets[1] - entries.get(name)!.data_offsets[0],
    read: async (name) => {
      const entry = entries.get(name)!;
      const [from, to] = entry.data_offsets;
      return decode(name, entry, await entry.source.read(entry.begin + from, entry.begin + to));
    },
    close,
  };
}
