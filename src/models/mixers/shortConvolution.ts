import { mul } from '@tensorflow/tfjs-core';
import { linear, linearParts } from '../../nn/layers/linear';
import { convolution } from './convolution';
import type { MixerFactory } from './mixer';

export interface ShortConvolutionSpec {
  type: 'shortConvolution';
  size: number;
  width: number;
  bias: boolean;
}

/** LFM2's gated short convolution: `out(c * conv(b * x))` of three projections b, c and x. */
export const shortConvolution: MixerFactory<ShortConvolutionSpec> = (weights, { size, width, bias }) => {
  const into = weights.linear('in_proj', size, 3 * size, bias);
  const conv = convolution(weights, { parts: [['conv', size]], width, bias });
  const out = weights.linear('out_proj', size, size, bias);
  return (x, { state }) => {
    const [b, c, inner] = linearParts(x, into, [size, size, size]);
    return linear(mul(c, conv(mul(b, inner), state)), out);
  };
};
