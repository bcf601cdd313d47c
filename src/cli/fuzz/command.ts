import { type FuzzFailure, fuzz } from './index';

interface Arguments {
  seconds?: string;
  seed?: string;
  op?: string;
  call?: string;
}

function printFailure({ op, call, reason, arguments: given, error }: FuzzFailure, seed: number): void {
  console.log(`FAIL ${given}\n  ${reason}${error === undefined ? '' : `: ${String(error)}`}`);
  console.log(`  again: linnet fuzz --seed ${seed} --op ${op} --call ${call}`);
}

/** Fuzzes for a time and prints what fails; false if anything did. */
export function fuzzCommand(given: Arguments): boolean {
  const seed = Number(given.seed ?? 1);
  const report = fuzz({
    seed,
    seconds: Number(given.seconds ?? 60),
    op: given.op,
    call: given.call === undefined ? undefined : Number(given.call),
    onFailure: (failure) => printFailure(failure, seed),
  });
  const { calls, accepted, refused, gradients, failures } = report;
  console.log(
    `${calls} calls: ${accepted} accepted, ${refused} refused, ${gradients} gradients, ${failures.length} failures`,
  );
  return failures.length === 0;
}
