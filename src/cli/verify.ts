import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { catalog } from '../catalog';
import { deviation, differentiableInputs, drawInputs, gradientsOf, outputsOf } from '../catalog/numerics';
import type { Case, CatalogEntry, Tensors } from '../catalog/types';
import * as linnet from '../ops';
import * as reference from '../reference';

export interface Verdict {
  op: string;
  cases: number;
  /** Worst r of the kernel, its worst m, worst r of its gradients, and of plain float32 tfjs ops where a case has them. */
  output: number;
  max: number;
  gradient: number;
  naive: number | undefined;
  passed: boolean;
}

/** Told of the error of every number relative to the root mean square of its tensor. */
type OnError = (error: number) => void;

function tellErrors(values: ArrayLike<number>, expected: ArrayLike<number>, onError: OnError): void {
  const finite = Array.from(expected).filter(Number.isFinite);
  const scale = Math.sqrt(finite.reduce((sum, x) => sum + x * x, 0) / finite.length) || 1;
  for (let i = 0; i < expected.length; i++)
    onError(Object.is(values[i], expected[i]) ? 0 : Math.abs(values[i] - expected[i]) / scale);
}

function worstOutput(
  c: Case,
  tensors: Tensors,
  run: (tensors: Tensors) => Tensor | Tensor[],
  onError?: OnError,
) {
  const expected = outputsOf(() => c.call(reference, tensors));
  const outputs = outputsOf(() => run(tensors));
  if (onError) outputs.forEach((values, i) => void tellErrors(values, expected[i], onError));
  const deviations = outputs.map((values, i) => deviation(values, expected[i]));
  return { r: Math.max(...deviations.map(({ r }) => r)), m: Math.max(...deviations.map(({ m }) => m)) };
}

function worstGradient(c: Case, tensors: Tensors): number {
  if (differentiableInputs(c).length === 0) return 0;
  const expected = gradientsOf(c, tensors, (t) => c.call(reference, t));
  const actual = gradientsOf(c, tensors, (t) => c.call(linnet, t));
  return Math.max(...Object.keys(expected).map((name) => deviation(actual[name], expected[name]).r));
}

/** Runs the catalog cases of an op: kernel and gradients against the float64 reference. */
export function verify({ name, bounds, cases }: CatalogEntry, onError?: OnError): Verdict {
  const verdict: Verdict = {
    op: name,
    cases: cases.length,
    output: 0,
    max: 0,
    gradient: 0,
    naive: undefined,
    passed: true,
  };
  for (const c of cases) {
    const tensors = drawInputs(c.inputs);
    const { r, m } = worstOutput(c, tensors, (t) => c.call(linnet, t), onError);
    const gradient = worstGradient(c, tensors);
    verdict.output = Math.max(verdict.output, r);
    verdict.max = Math.max(verdict.max, m);
    verdict.gradient = Math.max(verdict.gradient, gradient);
    if (c.naive !== undefined)
      verdict.naive = Math.max(verdict.naive ?? 0, worstOutput(c, tensors, c.naive).r);
    verdict.passed &&= r <= bounds.r && m <= bounds.m && gradient <= bounds.gradient;
    dispose(tensors as never);
  }
  return verdict;
}

const shown = (error: number | undefined) => (error === undefined ? '' : error.toExponential(1));

/** Prints a row per op; false if one is outside its bounds. */
export function verifyCommand({ op, json }: { op?: string; json?: boolean }): boolean {
  const entries = catalog.filter(({ name }) => op === undefined || name === op);
  const verdicts = entries.map((entry) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${entry.name}`);
    return verify(entry);
  });
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  if (json) console.log(JSON.stringify(verdicts, null, 2));
  else {
    console.log('errors against the float64 reference: RMSE(err) / RMSE(ref), worst case');
    for (const v of verdicts) {
      const columns = [String(v.cases).padStart(3), shown(v.output), shown(v.gradient), shown(v.naive)];
      console.log(
        `${v.op.padEnd(28)}${columns.map((text) => text.padStart(9)).join('')}  ${v.passed ? 'pass' : 'FAIL'}`,
      );
    }
    console.log('                            cases   output gradient    tfjs');
  }
  return verdicts.every(({ passed }) => passed);
}
