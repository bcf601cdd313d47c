/** A scalar on a tape, by its place there. */
export type Var = number;

/**
 * Reverse-mode differentiation in float64. A textbook formula written with these scalars is its own gradient: every
 * operation keeps the partial derivatives of its result, and `gradients` goes through them backwards.
 */
export class Tape {
  private readonly values: number[] = [];
  /** Where the operands of each scalar begin. */
  private readonly begins: number[] = [0];
  private readonly operands: Var[] = [];
  private readonly partials: number[] = [];

  /** Without `recording` there are values, but no gradients. */
  constructor(private readonly recording: boolean) {}

  private push(value: number): Var {
    if (this.recording) this.begins.push(this.operands.length);
    return this.values.push(value) - 1;
  }

  private one(value: number, a: Var, partial: number): Var {
    if (this.recording) {
      this.operands.push(a);
      this.partials.push(partial);
    }
    return this.push(value);
  }

  private two(value: number, a: Var, da: number, b: Var, db: number): Var {
    if (this.recording) {
      this.operands.push(a, b);
      this.partials.push(da, db);
    }
    return this.push(value);
  }

  constant(value: number): Var {
    return this.push(value);
  }

  constants(n: number, value = 0): Var[] {
    return Array.from({ length: n }, () => this.push(value));
  }

  variables(values: ArrayLike<number>): Var[] {
    return Array.from(values, (value) => this.push(value));
  }

  value(a: Var): number {
    return this.values[a];
  }

  /** A number computed elsewhere, with its partial derivatives. */
  given(value: number, operands: readonly Var[], partials: readonly number[]): Var {
    if (this.recording) {
      for (let i = 0; i < operands.length; i++) {
        this.operands.push(operands[i]);
        this.partials.push(partials[i]);
      }
    }
    return this.push(value);
  }

  add(a: Var, b: Var): Var {
    return this.two(this.values[a] + this.values[b], a, 1, b, 1);
  }

  sub(a: Var, b: Var): Var {
    return this.two(this.values[a] - this.values[b], a, 1, b, -1);
  }

  mul(a: Var, b: Var): Var {
    const [x, y] = [this.values[a], this.values[b]];
    return this.two(x * y, a, y, b, x);
  }

  div(a: Var, b: Var): Var {
    const [x, y] = [this.values[a], this.values[b]];
    return this.two(x / y, a, 1 / y, b, -x / (y * y));
  }

  /** a * factor + shift with plain numbers */
  affine(a: Var, factor: number, shift = 0): Var {
    return this.one(this.values[a] * factor + shift, a, factor);
  }

  exp(a: Var): Var {
    const y = Math.exp(this.values[a]);
    return this.one(y, a, y);
  }

  sqrt(a: Var): Var {
    const y = Math.sqrt(this.values[a]);
    return this.one(y, a, 0.5 / y);
  }

  tanh(a: Var): Var {
    const y = Math.tanh(this.values[a]);
    return this.one(y, a, 1 - y * y);
  }

  sigmoid(a: Var): Var {
    const y = 1 / (1 + Math.exp(-this.values[a]));
    return this.one(y, a, y * (1 - y));
  }

  /** log(1 / (1 + e^-a)) */
  logSigmoid(a: Var): Var {
    const x = this.values[a];
    const y = Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));
    return this.one(y, a, 1 / (1 + Math.exp(x)));
  }

  abs(a: Var): Var {
    const x = this.values[a];
    return this.one(Math.abs(x), a, Math.sign(x));
  }

  /** The larger one, a where they are equal. */
  max(a: Var, b: Var): Var {
    return this.values[a] >= this.values[b] ? this.one(this.values[a], a, 1) : this.one(this.values[b], b, 1);
  }

  sum(terms: readonly Var[]): Var {
    let y = 0;
    for (const term of terms) {
      y += this.values[term];
      if (!this.recording) continue;
      this.operands.push(term);
      this.partials.push(1);
    }
    return this.push(y);
  }

  dot(a: readonly Var[], b: readonly Var[]): Var {
    let y = 0;
    for (let i = 0; i < a.length; i++) {
      const [x, z] = [this.values[a[i]], this.values[b[i]]];
      y += x * z;
      if (!this.recording) continue;
      this.operands.push(a[i], b[i]);
      this.partials.push(z, x);
    }
    return this.push(y);
  }

  /** a b + c d */
  mulAdd(a: Var, b: Var, c: Var, d: Var): Var {
    const { values } = this;
    if (this.recording) {
      this.operands.push(a, b, c, d);
      this.partials.push(values[b], values[a], values[d], values[c]);
    }
    return this.push(values[a] * values[b] + values[c] * values[d]);
  }

  /** What each scalar weighs in the sum of `outputs` times `weights`. */
  gradients(outputs: readonly Var[], weights: ArrayLike<number>): Float64Array {
    const gradient = new Float64Array(this.values.length);
    outputs.forEach((output, i) => {
      gradient[output] += weights[i];
    });
    for (let at = this.values.length - 1; at >= 0; at--) {
      const weight = gradient[at];
      if (weight === 0) continue;
      for (let i = this.begins[at]; i < this.begins[at + 1]; i++)
        gradient[this.operands[i]] += weight * this.partials[i];
    }
    return gradient;
  }
}
