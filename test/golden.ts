import { readFileSync } from 'node:fs';
import { customGrad, grads, reshape, scalar, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { deviation, float64 } from '../src/catalog/numerics';
import type { Bounds } from '../src/catalog/types';
import { readSafetensors } from './safetensors';

type Tensors = Record<string, Tensor>;

/** One case of a golden family: other people's outputs and gradients for given inputs. */
export interface GoldenCase {
  op: string;
  case: string;
  attrs: Record<string, never>;
  layout: string;
  notes: string;
  in: Tensors;
  out: Tensors;
  grad: Tensors;
}

/** The cases of a family in test/golden; `notes` say which conventions they follow. */
export function golden(family: string): GoldenCase[] {
  const tensors = readSafetensors(new URL(`./golden/${family}.safetensors`, import.meta.url));
  const index: GoldenCase[] = JSON.parse(
    readFileSync(new URL(`./golden/${family}.json`, import.meta.url), 'utf8'),
  );
  return index.map((entry) => ({ ...entry, ...group(tensors, `${entry.op}/${entry.case}/`) }));
}

function group(tensors: Tensors, prefix: string) {
  const groups: Record<'in' | 'out' | 'grad', Tensors> = { in: {}, out: {}, grad: {} };
  for (const [path, value] of Object.entries(tensors)) {
    if (!path.startsWith(prefix)) continue;
    const [kind, name] = path.slice(prefix.length).split('/');
    groups[kind as keyof typeof groups][name] = value;
  }
  return groups;
}

/** The gradients a case stores, of the sum over outputs of `out * in/d<out>`; an output without one takes no part. */
function gradientsOf(c: GoldenCase, run: (inputs: Tensors) => Tensors): Record<string, Float64Array> {
  const names = Object.keys(c.grad);
  const loss = (...values: Tensor[]) => {
    const outputs = run({ ...c.in, ...Object.fromEntries(names.map((name, i) => [name, values[i]])) });
    const weighed = Object.keys(outputs).filter((name) => `d${name}` in c.in);
    return customGrad(() => ({
      value: scalar(0),
      gradFunc: () => weighed.map((name) => reshape(c.in[`d${name}`], outputs[name].shape)),
    }))(...weighed.map((name) => outputs[name]));
  };
  const gradients = grads(loss)(names.map((name) => c.in[name]));
  return Object.fromEntries(names.map((name, i) => [name, float64(gradients[i])]));
}

/** Expects every output `run` returns, and every gradient the case stores, within `bounds` of the stored ones. */
export function expectGolden(c: GoldenCase, run: (inputs: Tensors) => Tensors, bounds: Bounds): void {
  tidy(() => {
    const outputs = Object.entries(run(c.in));
    expect(outputs.length, 'outputs').toBeGreaterThan(0);
    for (const [name, output] of outputs) {
      const { r, m } = deviation(float64(output), float64(c.out[name]));
      expect(r, name).toBeLessThanOrEqual(bounds.r);
      expect(m, name).toBeLessThanOrEqual(bounds.m);
    }
    if (Object.keys(c.grad).length === 0) return;
    for (const [name, gradient] of Object.entries(gradientsOf(c, run))) {
      expect(deviation(gradient, float64(c.grad[name])).r, `d${name}`).toBeLessThanOrEqual(bounds.gradient);
    }
  });
}
