import { mul, relu, sigmoid, type Tensor, tanh } from '@tensorflow/tfjs-core';
import { activated, type Elementwise } from '../activated';

/** Which of `activations` linnet has a kernel for. */
const kinds = new Map<(x: Tensor) => Tensor, Elementwise>();

function ofLinnet(kind: Elementwise): (x: Tensor) => Tensor {
  const f = (x: Tensor) => activated(kind, x);
  kinds.set(f, kind);
  return f;
}

const squaredRelu = (x: Tensor) => mul(relu(x), relu(x));

/** `x sigmoid(x)` */
export const silu = ofLinnet('silu');
const geluTanh = ofLinnet('geluTanh');

/** Functions by the names configurations give them. */
export const activations = {
  silu,
  swish: silu,
  gelu: ofLinnet('gelu'),
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu: ofLinnet('relu'),
  relu2: squaredRelu,
  sqrelu: squaredRelu,
  sigmoid: sigmoid as (x: Tensor) => Tensor,
  tanh: tanh as (x: Tensor) => Tensor,
  identity: (x: Tensor) => x,
};

export type ActivationName = keyof typeof activations;

/** `f(gate)`, times `up` if it is given. */
export function activate(name: ActivationName, gate: Tensor, up?: Tensor): Tensor {
  const f = activations[name];
  if (up === undefined) return f(gate);
  const kind = kinds.get(f);
  return kind === undefined ? mul(f(gate), up) : activated(kind, gate, up);
}

/** @throws RangeError for a name that is none of `activations` */
export function activationName(name: string): ActivationName {
  if (Object.hasOwn(activations, name)) return name as ActivationName;
  throw new RangeError(`activation is '${name}'; expected one of ${Object.keys(activations).join(', ')}`);
}
