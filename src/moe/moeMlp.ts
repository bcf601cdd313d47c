import { ones, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../op/define';
import { checkObject, checkShapes } from '../tensor/shape';
import { type Activation, activationForm, KIND_NUMBER } from './activation';
import { type ExpertShapes, expertSizes, type MoeMlpAttrs } from './expertSizes';
import { defineMoeOp, noGradient } from './family';
import { outerScratch, productScratch } from './groupedMatMul';
import { moeMlpBackwardReference, moeMlpReference } from './moeMlp.reference';
import { type ChosenBy, checkIndices, offsetsOf, planOf, sizesOf, upload } from './plan';
import { leadingAxes } from './routerLogits';

/** Which experts every token goes to, and with what weight: `[..., k]` both, `indices` int32, -1 for none. */
export interface Routing {
  weights: Tensor;
  indices: Tensor;
}
/** Which tokens every expert takes, `[E, C]` both, `tokens` int32 among all tokens of the batch, -1 for none. */
export interface ExpertChoice {
  weights: Tensor;
  tokens: Tensor;
}

export interface ExpertWeights {
  /** `[E, 2F, D]`, gate rows and then up rows, of a gated activation; `[E, F, D]` of the others. */
  gateUp: Tensor;
  /** `[E, M, F]`; M is usually D. */
  down: Tensor;
  /** `[E, 2F]` or `[E, F]` */
  gateUpBias?: Tensor;
  /** `[E, M]` */
  downBias?: Tensor;
}

export interface SharedExpert {
  /** `[2F, D]` or `[F, D]`: the shared experts side by side are one wide one. */
  gateUp: Tensor;
  /** `[M, F]` */
  down: Tensor;
  /** `[..., 1]`, the weight of each token; default 1. */
  weight?: Tensor;
}

export interface MoeMlpOptions {
  /** Default `'swiglu'`. */
  activation?: Activation;
  /**
   * How weights lie: `'outIn'` as linear layers, `[E, 2F, D]` and `[E, M, F]`, or `'inOut'`, `[E, D, 2F]` and
   * `[E, F, M]`. Default `'inOut'` for `'swigluOss'`, as GPT-OSS stores them, else `'outIn'`.
   */
  layout?: 'outIn' | 'inOut';
  /** Gate and up alternate instead of following each other; default true for `'swigluOss'`, else false. */
  interleaved?: boolean;
  /** Of `'swigluOss'`; default 1.702. */
  alpha?: number;
  /** Of `'swigluOss'`; default 7. */
  limit?: number;
  /** An expert every token goes through besides (DeepSeekMoE, Qwen2-MoE), with the same activation and layout. */
  shared?: SharedExpert;
  /** `[..., M]`, added to the output: the stream the layer sits in. */
  residual?: Tensor;
}

type Input =
  | 'hidden'
  | 'gateUp'
  | 'down'
  | 'gateUpBias'
  | 'downBias'
  | 'weights'
  | 'indices'
  | 'residual'
  | 'dy';

function planned<I extends Input, K>(
  call: Pick<KernelCall<I, MoeMlpAttrs, K>, 'shape' | 'attrs' | 'buffer'> & { input: { indices: number } },
) {
  const shape = call.shape as ExpertShapes;
  const size = expertSizes(shape, call.attrs);
  const count = shape.indices!.reduce((n, d) => n * d, 1);
  const indices = new Int32Array(call.buffer(), call.input.indices, count).slice();
  return { ...size, plan: planOf(indices, size.columns, size.N, size.E, call.attrs.by) };
}

interface Strides {
  row: number;
  step: number;
}
/** The strides of both weights in bytes, of outputs (row) and of inputs (step). */
function strides(D: number, F1: number, F: number, M: number, layout: MoeMlpAttrs['layout']) {
  return layout === 'outIn'
    ? { first: { row: 4 * D, step: 4 }, second: { row: 4 * F, step: 4 } }
    : { first: { row: 4, step: 4 * F1 }, second: { row: 4, step: 4 * M } };
}

function formArguments({ activation, interleaved, alpha, limit }: MoeMlpAttrs) {
  return [Number(activation.gated), Number(interleaved), KIND_NUMBER[activation.kind], alpha, limit] as const;
}

/** The layer without its checks, for the expert layers that are special cases of it. */
export const moeMlpOp = defineMoeOp<Input, MoeMlpAttrs>({
  name: 'moeMlp',
  outputs: (shape, attrs) => [[...shape.hidden!.slice(0, -1), expertSizes(shape, attrs).M]],
  kernel: (call) => {
    const { input, output, attrs, scratch, workspace, launch } = call;
    const { N, D, M, F, F1, plan } = planned(call);
    const y = scratch(4 * M * plan.token.length);
    launch(
      'moeMlp',
      plan.blocks.length / 3,
      input.hidden,
      upload(call, plan.token),
      input.gateUp,
      input.gateUpBias,
      input.down,
      input.downBias,
      y,
      upload(call, plan.blocks),
      workspace(512 * (D + M) + 512 * 3 * 256 + 64 * Math.max(D, 256) + 4 * (F1 + F)),
      D,
      F,
      M,
      Number(attrs.layout === 'inOut'),
      ...formArguments(attrs),
    );
    launch(
      'moeCombine',
      N,
      y,
      input.weights,
      input.residual,
      output[0],
      upload(call, plan.start),
      upload(call, plan.order),
      upload(
        call,
        plan.order.map((slot) => plan.weight[slot]),
      ),
      M,
    );
  },
  reference: moeMlpReference,
  gradient: ({ inputs, dy, attrs }) => {
    const { residual, ...rest } = inputs;
    const [hidden, gateUp, down, gateUpBias, downBias, weights] = backward.run({ ...rest, dy: dy[0] }, attrs);
    return {
      hidden,
      gateUp,
      down,
      gateUpBias,
      downBias,
      weights,
      indices: noGradient(inputs.indices!),
      residual: () => dy[0].clone(),
    };
  },
});

const backward = defineMoeOp<Exclude<Input, 'residual'>, MoeMlpAttrs>({
  name: 'moeMlpBackward',
  outputs: ({ hidden, gateUp, down, gateUpBias, downBias, weights }) => [
    hidden!,
    gateUp!,
    down!,
    gateUpBias ?? [0],
    downBias ?? [0],
    weights!,
  ],
  kernel: (call) => {
    const { input, output, shape, attrs, scratch, workspace, launch, buffer } = call;
    const { N, D, M, F, F1, E, plan } = planned(call);
    const [dhidden, dgateUp, ddown, dgateUpBias, ddownBias, dweights] = output;
    const slots = plan.token.length;
    const blockCount = plan.blocks.length / 3;
    const token = upload(call, plan.token);
    const weightIndex = upload(call, plan.weight);
    const expert = upload(call, plan.expert);
    const blocks = upload(call, plan.blocks);
    const offsets = upload(call, offsetsOf(sizesOf(plan.expert, E)));
    const start = upload(call, plan.start);
    const order = upload(call, plan.order);
    const gateUpGradient = scratch(4 * F1 * slots);
    const h = scratch(4 * F * slots);
    const throughDown = scratch(4 * F * slots);
    const perSlot = scratch(4 * D * slots);
    const weightOf = scratch(4 * slots);
    const work = workspace(
      Math.max(
        productScratch(D, F1),
        productScratch(M, F),
        productScratch(F1, D),
        outerScratch(Math.max(D, F1, F, M)),
      ),
    );
    const { first, second } = strides(D, F1, F, M, attrs.layout);
    const transposed = ({ row, step }: Strides): Strides => ({ row: step, step: row });
    new Float32Array(
      buffer(),
      dweights,
      shape.weights!.reduce((n, d) => n * d, 1),
    ).fill(0);

    const multiply = (
      x: number,
      index: number,
      weight: number,
      { row, step }: Strides,
      bias: number,
      out: number,
      K: number,
      n: number,
    ) => launch('groupedMatMul', blockCount, x, index, weight, row, step, bias, out, blocks, work, K, n);
    multiply(input.hidden, token, input.gateUp, first, input.gateUpBias, gateUpGradient, D, F1);
    multiply(input.dy, token, input.down, transposed(second), 0, throughDown, M, F);
    launch('moeSlotWeights', slots, input.weights, weightIndex, weightOf);
    launch(
      'moeActivationBackward',
      slots,
      gateUpGradient,
      throughDown,
      h,
      weightOf,
      dweights,
      weightIndex,
      input.dy,
      token,
      input.downBias,
      expert,
      F,
      M,
      ...formArguments(attrs),
    );
    multiply(gateUpGradient, 0, input.gateUp, transposed(first), 0, perSlot, F1, D);
    launch('moeCombine', N, perSlot, 0, 0, dhidden, start, order, 0, D);

    const outer = (
      a: readonly [rows: number, index: number, columns: number],
      b: readonly [rows: number, index: number, columns: number],
      out: number,
    ) => launch('groupedOuter', E, a[0], a[1], b[0], b[1], out, offsets, work, a[2], b[2]);
    const outIn = attrs.layout === 'outIn';
    const x = [input.hidden, token, D] as const;
    const inner = [gateUpGradient, 0, F1] as const;
    const activated = [h, 0, F] as const;
    const dy = [input.dy, token, M] as const;
    if (outIn) outer(inner, x, dgateUp);
    else outer(x, inner, dgateUp);
    if (outIn) outer(dy, activated, ddown);
    else outer(activated, dy, ddown);
    if (shape.gateUpBias) launch('groupedSum', E, gateUpGradient, 0, 0, dgateUpBias, offsets, F1);
    if (shape.downBias) launch('groupedSum', E, input.dy, token, weightOf, ddownBias, offsets, M);
  },
  reference: moeMlpBackwardReference,
});

/**
 * A layer of expert networks: `y = residual + sum over the chosen experts e of weight_e * down_e(act(gate_up_e(x)))`.
 * Tokens are sorted by expert, the products read the weights of chosen experts only, and results are added up in the
 * order each token chose, so the same input always gives the same bits.
 *
 * @param hidden `[..., D]`
 * @param experts the stacked weights, as transformers stores them
 * @param routing of the tokens (`topkRouting` and the like) or of the experts (`expertChoiceRouting`)
 * @returns `[..., M]`
 * @throws TypeError, RangeError for a wrong dtype or shape, or an index that names no expert or token
 * @see Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer"
 * @example
 * ```ts
 * import { randomNormal } from '@tensorflow/tfjs-core';
 * import { moeMlp, ready, topkRouting } from 'linnet';
 *
 * await ready();
 * const hidden = randomNormal([64, 32]);
 * const logits = randomNormal([64, 8]);
 * const gateUp = randomNormal([8, 96, 32]);
 * const down = randomNormal([8, 32, 48]);
 * const routing = topkRouting(logits, { topK: 2, normTopkProb: true });
 * const output = moeMlp(hidden, { gateUp, down }, routing, { residual: hidden }); // [64, 32]
 * ```
 */
export function moeMlp(
  hidden: Tensor,
  experts: ExpertWeights,
  routing: Routing | ExpertChoice,
  options: MoeMlpOptions = {},
): Tensor {
  checkObject('moeMlp', 'experts', experts, '{ gateUp, down, ... }');
  checkObject('moeMlp', 'routing', routing, '{ weights, indices }');
  const { activation = 'swiglu', alpha = 1.702, limit = 7, shared, residual } = options;
  const oss = activation === 'swigluOss';
  const { layout = oss ? 'inOut' : 'outIn', interleaved = oss } = options;
  const form = activationForm('moeMlp', activation);
  const by: ChosenBy = 'tokens' in routing ? 'expert' : 'token';
  const attrs: MoeMlpAttrs = { activation: form, layout, interleaved, alpha, limit, by, form: 'stacked' };
  const axes = leadingAxes(hidden);
  const indices = 'tokens' in routing ? routing.tokens : routing.indices;
  const indicesName = 'tokens' in routing ? 'tokens' : 'indices';
  const chosen = by === 'expert' ? 'E C' : `${axes} k`.trim();
  const [first, second] = layout === 'outIn' ? ['F1 D', 'M F'] : ['D F1', 'F M'];
  const { E, F, F1, C, M } = checkShapes('moeMlp', [
    ['hidden', hidden, `${axes} D`.trim()],
    ['gateUp', experts.gateUp, `E ${first}`],
    ['down', experts.down, `E ${second}`],
    ['gateUpBias?', experts.gateUpBias, 'E F1'],
    ['downBias?', experts.downBias, 'E M'],
    [indicesName, indices, chosen, 'int32'],
    ['weights', routing.weights, chosen],
    ['residual?', residual, `${axes} M`.trim()],
  ]) as Record<string, number>;
  checkWidth(F1, F, form.gated);
  const N = hidden.shape.slice(0, -1).reduce((n, size) => n * size, 1);
  if (C === undefined) checkIndices('moeMlp', indicesName, indices, E, 'experts', -1);
  else checkIndices('moeMlp', indicesName, indices, N, 'tokens', -1);

  const { gateUp, down, gateUpBias, downBias } = experts;
  const inputs = { hidden, gateUp, down, gateUpBias, downBias, weights: routing.weights, indices };
  return tidy(() => {
    const stream = shared === undefined ? residual : throughShared(hidden, shared, residual, attrs, M);
    return moeMlpOp.run({ ...inputs, residual: stream }, attrs)[0];
  });
}

function checkWidth(F1: number, F: number, gated: boolean): void {
  if (F1 !== (gated ? 2 * F : F)) {
    throw new RangeError(
      `moeMlp: gateUp has ${F1} features; expected ${gated ? 2 * F : F} (${gated ? '2 ' : ''}F, F = ${F} from down)`,
    );
  }
}

/** The shared expert is a layer of one expert that every token chooses. */
function throughShared(
  hidden: Tensor,
  { gateUp, down, weight }: SharedExpert,
  residual: Tensor | undefined,
  attrs: MoeMlpAttrs,
  M: number,
): Tensor {
  const axes = leadingAxes(hidden);
  const [first, second] = attrs.layout === 'outIn' ? ['F1 D', `${M} F`] : ['D F1', `F ${M}`];
  const { F, F1 } = checkShapes('moeMlp', [
    ['hidden', hidden, `${axes} D`.trim()],
    ['shared.gateUp', gateUp, first],
    ['shared.down', down, second],
    ['shared.weight?', weight, `${axes} 1`.trim()],
  ]) as Record<string, number>;
  checkWidth(F1, F, attrs.activation.gated);
  const shape = [...hidden.shape.slice(0, -1), 1];
  const indices = zeros(shape, 'int32');
  const weights = weight ?? ones(shape);
  return moeMlpOp.run(
    { hidden, gateUp, down, weights, indices, residual },
    { ...attrs, by: 'token', form: 'one' },
  )[0];
}
