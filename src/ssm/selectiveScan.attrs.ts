import type { Shape } from '../op/define';

const INPUTS = [
  'u',
  'delta',
  'A',
  'AIm',
  'B',
  'BIm',
  'C',
  'CIm',
  'D',
  'z',
  'deltaBias',
  'initialState',
  'initialStateIm',
] as const;
/** The inputs by role; those that end in `Im` are the imaginary parts where numbers are complex. */
export type SelectiveScanInput = (typeof INPUTS)[number];
type Shapes = { readonly [name in SelectiveScanInput]?: Shape };

export interface SelectiveScanAttrs {
  softplus: boolean;
  lastState: boolean;
  /** Whether to keep the states before every 64th token, from which the gradient scans again. */
  keep: boolean;
  /** One token without a time axis, whose channels may be split over heads: u is [B, D] or [B, H, D]. */
  single: boolean;
}

/** Channels of a work item, tokens it scans at a time, tokens between states that are kept: those of the kernels. */
const BLOCK = 64;
const TOKENS = 32;
const SPACING = 64;

/** The inputs a call has, in the order of their gradients. */
export function gradientNames(
  inputs: { readonly [name in SelectiveScanInput]?: unknown },
): SelectiveScanInput[] {
  return INPUTS.filter((input) => inputs[input] !== undefined);
}

export function sizesOf({ u, A, AIm, B: b, C: c }: Shapes, attrs: SelectiveScanAttrs) {
  const B = u![0];
  const T = attrs.single ? 1 : u![1];
  const Dm = u!.slice(attrs.single ? 1 : 2).reduce((n, size) => n * size, 1);
  const N = A!.at(-1)!;
  const complex = AIm !== undefined;
  const tokenRank = attrs.single ? 2 : 3;
  const groupsOf = (shape: Shape) => (shape.length > tokenRank ? shape.at(-2)! : 1);
  const G = Math.max(groupsOf(b!), groupsOf(c!), 1);
  const grouped = Dm / G;
  const blocks = Math.ceil(grouped / BLOCK);
  const items = B * G * blocks;
  const chunks = Math.ceil(T / SPACING);
  const stateFloats = ((Math.min(grouped, BLOCK) + 7) & ~7) * N;
  return {
    B,
    T,
    Dm,
    N,
    G,
    complex,
    constantB: b!.length < tokenRank,
    constantC: c!.length < tokenRank,
    blocks,
    items,
    /** Floats of the states that are kept. */
    checkpoints: attrs.keep && !complex ? items * chunks * stateFloats : 0,
    /** As the kernels lay out their work. */
    forwardBytes: complex ? 2 * 16 * N + 8 * SPACING : 4 * (4 * stateFloats + TOKENS * (3 * BLOCK + 8 * N)),
    backwardBytes: complex
      ? (chunks + 2 * SPACING + 3) * 16 * N + 8 * SPACING
      : 4 * (7 * stateFloats + (SPACING * 3 + 1) * 8 * N + (6 * SPACING + 2) * BLOCK),
  };
}
