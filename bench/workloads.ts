import { forgettingAttention } from './attention/forgettingAttention';
import { multiHeadLatentAttention } from './attention/multiHeadLatentAttention';
import { scaledDotProductAttention } from './attention/scaledDotProductAttention';
import { calls } from './calls';
import { additive } from './linear/additive';
import { beyond } from './linear/beyond';
import { channels } from './linear/channels';
import { delta } from './linear/delta';
import { features } from './linear/features';
import { experts } from './moe/experts';
import { moe } from './moe/moe';
import { routing } from './moe/routing';
import { nn } from './nn/nn';
import { clustered } from './sparse/clustered';
import { dynamic, int8Decode } from './sparse/dynamic';
import { flexAttention } from './sparse/flexAttention';
import { blocks } from './ssm/blocks';
import { mamba } from './ssm/mamba';
import { scans } from './ssm/scans';
import type { Workload } from './types';

export const workloads: readonly Workload[] = [
  ...scaledDotProductAttention,
  ...forgettingAttention,
  ...multiHeadLatentAttention,
  ...flexAttention,
  ...dynamic,
  ...int8Decode,
  ...clustered,
  ...additive,
  ...delta,
  ...channels,
  ...features,
  ...beyond,
  ...mamba,
  ...scans,
  ...blocks,
  ...moe,
  ...routing,
  ...experts,
  ...nn,
  ...calls,
];
