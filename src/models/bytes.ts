import { nodeModule } from '../runtime/node';

/** A file that is read in parts. */
export interface ByteSource {
  readonly name: string;
  size(): Promise<number>;
  read(begin: number, end: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A path or file: URL in Node, any other URL, a File or Blob, or bytes in memory. */
export type FileLike = string | URL | Blob | ArrayBuffer | Uint8Array;

class Bytes implements ByteSource {
  constructor(
    readonly name: string,
    private readonly bytes: Uint8Array,
  ) {}
  async size() {
    return this.bytes.length;
  }
  async read(begin: number, end: number) {
    return this.bytes.subarray(begin, end);
  }
  async close() {}
}

class BlobSource implements ByteSource {
  readonly name: string;
  constructor(private readonly blob: Blob) {
    this.name = (blob as File).name ?? 'blob';
  }
  async size() {
    return this.blob.size;
  }
  async read(begin: number, end: number) {
    return new Uint8Array(await this.blob.slice(begin, end).arrayBuffer());
  }
  async close() {}
}

class NodeFile implements ByteSource {
  readonly name: string;
  private handle?: Promise<import('node:fs/promises').FileHandle>;
  constructor(private readonly path: string | URL) {
    this.name = String(path);
  }
  private open() {
    this.handle ??= (nodeModule('fs/promises') as Promise<typeof import('node:fs/promises')>).then(
      ({ open }) => open(this.path),
    );
    return this.handle;
  }
  async size() {
    return (await (await this.open()).stat()).size;
  }
  async read(begin: number, end: number) {
    const bytes = new Uint8Array(end - begin);
    const file = await this.open();
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, begin + done);
      if (bytesRead === 0) throw new RangeError(`${this.name} ends at byte ${begin + done}; expected ${end}`);
      done += bytesRead;
    }
    return bytes;
  }
  async close() {
    await (await this.handle)?.close();
  }
}

/** Ranges of a URL; a server that does not serve ranges is asked once, for the whole. */
class Remote implements ByteSource {
  readonly name: string;
  private whole?: Promise<Uint8Array>;
  private total?: number;
  constructor(
    private readonly url: URL,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.name = String(url);
  }
  async size() {
    if (this.total === undefined) await this.read(0, 8);
    return this.total!;
  }
  async read(begin: number, end: number) {
    if (this.whole === undefined && begin < end) {
      const response = await this.request({ Range: `bytes=${begin}-${end - 1}` });
      const total = Number(response.headers.get('Content-Range')?.split('/')[1]);
      if (response.status === 206 && Number.isFinite(total)) {
        this.total = total;
        return new Uint8Array(await response.arrayBuffer());
      }
      this.whole = (response.status === 206 ? this.request({}) : Promise.resolve(response)).then(
        async (full) => new Uint8Array(await full.arrayBuffer()),
      );
    }
    const bytes = (await this.whole) ?? new Uint8Array(0);
    this.total ??= bytes.length;
    return bytes.subarray(begin, end);
  }
  private async request(headers: Record<string, string>): Promise<Response> {
    const response = await fetch(this.url, { headers, signal: this.signal });
    if (!response.ok) throw new Error(`${this.name}: ${response.status} ${response.statusText}`);
    return response;
  }
  async close() {
    this.whole = undefined;
  }
}

function urlOf(file: string | URL): URL | undefined {
  if (file instanceof URL) return file;
  if (/^[a-z][a-z0-9+.-]+:/i.test(file)) return new URL(file);
  const page = (globalThis as { location?: { href?: string } }).location?.href;
  return page === undefined ? undefined : new URL(file, page);
}

export function byteSource(file: FileLike, signal?: AbortSignal): ByteSource {
  if (file instanceof Uint8Array) return new Bytes('bytes', file);
  if (file instanceof ArrayBuffer) return new Bytes('bytes', new Uint8Array(file));
  if (file instanceof Blob) return new BlobSource(file);
  if (typeof file !== 'string' && !(file instanceof URL)) {
    throw new TypeError(`expected a path, URL, Blob, ArrayBuffer or Uint8Array; got ${typeof file}`);
  }
  const url = urlOf(file);
  return url === undefined || url.protocol === 'file:' ? new NodeFile(url ?? file) : new Remote(url, signal);
}

/** A file beside another one. */
export function sibling(file: string | URL, name: string): string | URL {
  const url = urlOf(file);
  if (url !== undefined) return new URL(name, url);
  return (file as string).replace(/[^/\\]*$/, name);
}
