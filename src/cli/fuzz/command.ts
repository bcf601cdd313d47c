import { type FuzzFailure, fuzz } from './index';

interface Arguments {
  seconds?: number;
  seed?: number;
  op?: string;
  call?: number;
}

function printFailure({ op, call, reason, arguments: given, error }: FuzzFailure, seed: number): void {
  console.log(`FAIL ${given}\n  ${reason}${error === undefined ? '' : `: ${String(error)}`}`);
  console.log(`  again: linnet fuzz --seed ${seed} --op ${op} --call ${call}`);
}

/** Fuzzes for a time and prints what fails; false if anything did. */
export function fuzzCommand({ seconds = 60, seed = 1, op, call }: Arguments): boolean {
  const report = fuzz({ seed, seconds, op, call, onFailure: (failure) => printFailure(failure, seed) });
  const { calls, accepted, refused, gradients, failures } = report;
  console.log(
    `${calls} calls: ${accepted} accepted, ${refused} refused, ${gradients} gradients, ${failures.length} failures`,
  );
  return failures.length === 0;
}
