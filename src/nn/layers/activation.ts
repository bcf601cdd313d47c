import { add, erf, mul, relu, sigmoid, type Tensor, tanh } from '@tensorflow/tfjs-core';

function geluTanh(x: Tensor): Tensor {
  const inner = mul(Math.sqrt(2 / Math.PI), add(x, mul(0.044715, mul(x, mul(x, x)))));
  return mul(mul(0.5, x), add(1, tanh(inner)));
}

/** `x sigmoid(x)` */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x));
const gelu = (x: Tensor) => mul(mul(0.5, x), add(1, erf(mul(x, Math.SQRT1_2))));
const squaredRelu = (x: Tensor) => mul(relu(x), relu(x));
const identity = (x: Tensor) => x;

/** Functions by the names configurations give them. */
export const activations = {
  silu,
  swish: silu,
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu: relu as (x: Tensor) => Tensor,
  relu2: squaredRelu,
  sqrelu: squaredRelu,
  sigmoid: sigmoid as (x: Tensor) => Tensor,
  tanh: tanh as (x: Tensor) => Tensor,
  identity,
};

export type ActivationName = keyof typeof activations;

/** @throws RangeError for a name that is none of `activations` */
export function activationName(name: string): ActivationName {
  if (Object.hasOwn(activations, name)) return name as ActivationName;
  throw new RangeError(`activation is '${name}'; expected one of ${Object.keys(activations).join(', ')}`);
}
