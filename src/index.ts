/** @module linnet */

export * from './linear/tools';
export * from './moe/tools';
export * from './nn/tools';
export * from './ops';
export { type Info, info, type ReadyOptions, ready, setThreads } from './runtime/ready';
export * from './sparse/tools';
export * from './ssm/tools';
