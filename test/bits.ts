import { differentiableInputs, gradientsOf, outputsOf } from '../src/catalog/numerics';
import type { Case, Tensors } from '../src/catalog/types';
import * as linnet from '../src/ops';

/** The outputs of a case and the gradients of all its inputs. */
export function outputsAndGradients(c: Case, tensors: Tensors): Float64Array[] {
  const outputs = outputsOf(() => c.call(linnet, tensors));
  if (differentiableInputs(c).length === 0) return outputs;
  return [...outputs, ...Object.values(gradientsOf(c, tensors, (t) => c.call(linnet, t)))];
}

type Arrays = readonly ArrayLike<number>[];

/** Where two lists of arrays differ first, bit for bit; undefined where they do not. */
export function difference(actual: Arrays, expected: Arrays): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} arrays instead of ${expected.length}`;
  for (let n = 0; n < actual.length; n++) {
    const [a, e] = [actual[n], expected[n]];
    if (a.length !== e.length) return `array ${n} has ${a.length} numbers instead of ${e.length}`;
    for (let i = 0; i < a.length; i++) {
      if (!Object.is(a[i], e[i])) return `array ${n} has ${a[i]} instead of ${e[i]} at ${i}`;
    }
  }
  return undefined;
}
