export const isNode = typeof process !== 'undefined' && process.versions?.node !== undefined;

/** Deno counts as Node too. */
export const isDeno = () => 'Deno' in globalThis;

/** Imports a module of Node, hidden from bundlers, which would look for it. */
export const nodeModule = (name: string) =>
  import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`);
