import {
  dispose,
  ones,
  type Tensor,
  tensor,
  tidy,
  type Variable,
  variable,
  zeros,
} from '@tensorflow/tfjs-core';
import {
  causalConv1d,
  flexAttention,
  linearAttention,
  masks,
  moeMlp,
  rmsNorm,
  scaledDotProductAttention,
  selectiveScan,
} from 'linnet';
import { crossMerge, crossScan, qShift } from 'linnet/nn';
import { GRID, INPUTS, numbers } from './data';
import { meanToken, project, reshaped, sum } from './layers';

const [SIZE, HEADS, BLOCKS, STATE, CLASSES] = [48, 3, 2, 8, 10];
const grid = { H: GRID, W: GRID };
const Tq = GRID * GRID;

/** The weights of one block, made when first asked for: `[1, into, out]`. */
type Weights = (name: string, into?: number, out?: number) => Variable;
/** From normed tokens `[B, T, SIZE]` to what the block adds to them. */
type Mixer = (x: Tensor, weights: Weights) => Tensor;

const toHeads = (x: Tensor) => reshaped(x, [x.shape[0], Tq, HEADS, SIZE / HEADS]);
const fromHeads = (x: Tensor) => reshaped(x, [x.shape[0], Tq, SIZE]);

function attention(attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor): Mixer {
  return (x, weights) => {
    const [q, k, v] = ['q', 'k', 'v'].map((name) => toHeads(project(x, weights(name))));
    return project(fromHeads(attend(q, k, v)), weights('output'));
  };
}

const neighbours = masks.neighborhood2d({ Tq, grid: [GRID, GRID], size: [5, 5] });
/** Decays of a state, the same for all channels, not trained. */
const decays = Float32Array.from({ length: SIZE * STATE }, (_, i) => -1 - (i % STATE));

export const mixers: Record<string, Mixer> = {
  softmax: attention((q, k, v) => scaledDotProductAttention(q, k, v)),

  neighborhood: attention((q, k, v) => flexAttention(q, k, v, { blockMask: neighbours })),

  /** VMamba: a convolution and a selective scan along rows, columns and both reversed, which share their weights. */
  mamba(x, weights) {
    const B = x.shape[0];
    const inner = reshaped(project(x, weights('input')), [B, GRID, GRID, SIZE]);
    const paths = reshaped(crossScan(inner), [4 * B, Tq, SIZE]);
    const u = causalConv1d(paths, reshaped(weights('convolution', SIZE, 4), [SIZE, 4]), {
      activation: 'silu',
    });
    const delta = project(u, weights('delta'));
    const [b, c] = ['b', 'c'].map((name) => project(u, weights(name, SIZE, STATE)));
    const A = tensor(decays, [SIZE, STATE]);
    const y = selectiveScan(u, delta, A, b, c, { deltaSoftplus: true, D: ones([SIZE]) });
    return project(crossMerge(reshaped(y, [B, 4, Tq, SIZE]), grid), weights('output'));
  },

  /** Vision-RWKV's shift in four directions, mixed by matrices, before linear attention. */
  rwkv(x, weights) {
    const shifted = qShift(x, grid);
    const [q, k, v] = ['q', 'k', 'v'].map((name) =>
      toHeads(sum(project(x, weights(name)), project(shifted, weights(`${name}Shifted`)))),
    );
    const mixed = linearAttention(q, k, v, { featureMap: 'elu', normalize: true, isCausal: false, scale: 1 });
    return project(fromHeads(mixed), weights('output'));
  },
};

/** Patches, two blocks of a mixer and a SwiGLU network, the mean of the tokens, scores of the digits. */
export class Classifier {
  readonly parameters: Record<string, Variable> = {};
  private readonly random = numbers(1);

  constructor(private readonly mixer: Mixer) {
    tidy(() => this.forward(zeros([1, Tq, INPUTS])));
  }

  /** @param x `[B, T, INPUTS]` */
  forward(x: Tensor): Tensor {
    return tidy(() => {
      const routing = { indices: zeros([x.shape[0], Tq, 1], 'int32'), weights: ones([x.shape[0], Tq, 1]) };
      let tokens = project(x, this.weight('patches', INPUTS, SIZE));
      for (let block = 0; block < BLOCKS; block++) {
        const own: Weights = (name, into = SIZE, out = SIZE) => this.weight(`${block}.${name}`, into, out);
        const norm = (y: Tensor, name: string) => rmsNorm(y, reshaped(this.gain(`${block}.${name}`), [SIZE]));
        tokens = sum(tokens, this.mixer(norm(tokens, 'norm1'), own));
        const experts = { gateUp: own('gateUp', SIZE, 4 * SIZE), down: own('down', 2 * SIZE, SIZE) };
        tokens = moeMlp(norm(tokens, 'norm2'), experts, routing, { layout: 'inOut', residual: tokens });
      }
      const seen = rmsNorm(meanToken(tokens), this.gain('norm'));
      return project(seen, this.weight('head', SIZE, CLASSES));
    });
  }

  private gain(name: string): Variable {
    this.parameters[name] ??= variable(ones([SIZE]));
    return this.parameters[name];
  }

  private weight(name: string, into: number, out: number): Variable {
    this.parameters[name] ??= variable(
      tensor(
        Float32Array.from({ length: into * out }, () => (2 * this.random() - 1) * Math.sqrt(3 / into)),
        [1, into, out],
      ),
    );
    return this.parameters[name];
  }

  dispose(): void {
    dispose(Object.values(this.parameters));
  }
}
