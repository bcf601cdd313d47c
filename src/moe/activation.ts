/**
 * What an expert computes between its two products: `h = act(gate) * up` for the gated ones, else `h = act(x)`.
 * `gelu` and `geglu` are exact (erf), their `Tanh` forms the usual approximation; `swigluOss` is GPT-OSS's
 * `(up + 1) * gate * sigmoid(alpha * gate)` with gate clamped to at most `limit` and up to `[-limit, limit]`.
 */
export type Activation =
  | 'swiglu'
  | 'geglu'
  | 'gegluTanh'
  | 'reglu'
  | 'swigluOss'
  | 'silu'
  | 'gelu'
  | 'geluTanh'
  | 'relu'
  | 'identity';

export type ActivationKind = 'identity' | 'relu' | 'silu' | 'gelu' | 'geluTanh' | 'clamped';

const FORMS: Record<Activation, { kind: ActivationKind; gated: boolean }> = {
  swiglu: { kind: 'silu', gated: true },
  geglu: { kind: 'gelu', gated: true },
  gegluTanh: { kind: 'geluTanh', gated: true },
  reglu: { kind: 'relu', gated: true },
  swigluOss: { kind: 'clamped', gated: true },
  silu: { kind: 'silu', gated: false },
  gelu: { kind: 'gelu', gated: false },
  geluTanh: { kind: 'geluTanh', gated: false },
  relu: { kind: 'relu', gated: false },
  identity: { kind: 'identity', gated: false },
};

/** The numbers the kernels know the functions by. */
export const KIND_NUMBER: Record<ActivationKind, number> = {
  identity: 0,
  relu: 1,
  silu: 2,
  gelu: 3,
  geluTanh: 4,
  clamped: 5,
};

export function activationForm(op: string, activation: Activation): { kind: ActivationKind; gated: boolean } {
  const form = FORMS[activation];
  if (form === undefined) {
    throw new RangeError(
      `${op}: activation is ${JSON.stringify(activation)}; expected one of ${Object.keys(FORMS).join(', ')}`,
    );
  }
  return form;
}
