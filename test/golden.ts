import { readFileSync } from 'node:fs';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';

/** One case of a golden family: other people's outputs and gradients for given inputs. */
export interface GoldenCase {
  op: string;
  case: string;
  attrs: Record<string, never>;
  notes: string;
  in: Record<string, Tensor>;
  out: Record<string, Tensor>;
  grad: Record<string, Tensor>;
}

interface Entry {
  dtype: 'F32' | 'I32';
  shape: number[];
  data_offsets: [number, number];
}

/** Every tensor of a safetensors file by name. */
export function readSafetensors(path: URL): Record<string, Tensor> {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header: Record<string, Entry> = JSON.parse(file.toString('utf8', 8, 8 + headerBytes));
  const data = 8 + headerBytes;
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            dtype,
            shape,
            data_offsets: [begin, end],
          },
        ]) => {
          const bytes = Uint8Array.from(file.subarray(data + begin, data + end)).buffer;
          return dtype === 'F32'
            ? [name, tensor(new Float32Array(bytes), shape)]
            : [name, tensor(new Int32Array(bytes), shape, 'int32')];
        },
      ),
  );
}

/** The cases of a family in test/golden; `notes` say which conventions they follow. */
export function golden(family: string): GoldenCase[] {
  const tensors = readSafetensors(new URL(`./golden/${family}.safetensors`, import.meta.url));
  const index: GoldenCase[] = JSON.parse(
    readFileSync(new URL(`./golden/${family}.json`, import.meta.url), 'utf8'),
  );
  return index.map((entry) => ({ ...entry, ...group(tensors, `${entry.op}/${entry.case}/`) }));
}

function group(tensors: Record<string, Tensor>, prefix: string) {
  const groups: Record<'in' | 'out' | 'grad', Record<string, Tensor>> = { in: {}, out: {}, grad: {} };
  for (const [path, value] of Object.entries(tensors)) {
    if (!path.startsWith(prefix)) continue;
    const [kind, name] = path.slice(prefix.length).split('/');
    groups[kind as keyof typeof groups][name] = value;
  }
  return groups;
}
