import { cpus, totalmem } from 'node:os';
import type { Environment } from './report';

export function nodeEnvironment(): Environment {
  return {
    machine: {
      cpu: cpus()[0].model.trim(),
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      platform: `${process.platform} ${process.arch}`,
    },
    node: process.version,
    v8: process.versions.v8,
  };
}
