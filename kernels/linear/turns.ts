/** How a call is cut into work items, as `takeTurns` of src/linear writes it. */
@unmanaged
export class Turns {
  /** int32 [N + 1], in tokens of `steps` steps each */
  offsets: usize;
  steps: i32;
  heads: i32;
  /** heads of an item, and how many heads at most take turns at a chunk, so that its rows are read in the order they lie in */
  unit: i32;
  together: i32;
  /** items [N, heads / unit], and steps after which those of a longer run may stop for others to go on with a part of them */
  items: i32;
  span: i32;
  /** states between runs as the final ones lie, 0 where no item stops early; bytes of a state in a workspace */
  carried: usize;
  bytes: usize;
  /** threads that wait for work */
  waiting: i32;
}

/** What a thread does at a time: heads [from, to) of a sequence, and of its steps [first, last) those in [start, stop). */
@unmanaged
export class Turn {
  sequence: i32;
  from: i32;
  to: i32;
  first: i32;
  last: i32;
  start: i32;
  stop: i32;
}

/**
 * The items from `begin` on, before `end`, that take turns. Items that go on from a later span are numbered `items` further on
 * for each span before it. Returns where the next turn begins.
 */
export function takeTurn(turn: Turn, turns: Turns, begin: i32, end: i32): i32 {
  const groups = (turns.heads + turns.unit - 1) / turns.unit, item = begin % turns.items, sequence = item / groups;
  const group = item - sequence * groups, many = min(end - begin, max(1, turns.together / turns.unit));
  const next = min(group + many, groups), bounds = turns.offsets + (<usize>sequence << 2);
  turn.sequence = sequence;
  turn.from = group * turns.unit;
  turn.to = min(next * turns.unit, turns.heads);
  turn.first = load<i32>(bounds) * turns.steps;
  turn.last = load<i32>(bounds, 4) * turns.steps;
  turn.start = turn.first + begin / turns.items * turns.span;
  turn.stop = turn.last;
  return begin + next - group;
}

/** Bytes of states times steps from which on it pays that two threads share them: 0.2 ms of work for one. */
const WORTH_SHARING: i64 = 1 << 22;

/** Whether the turn stops before a step because another thread waits and enough is left for both. */
// @ts-ignore: decorator
@inline
export function stopsFor(turn: Turn, turns: Turns, step: i32): bool {
  if (turns.waiting == 0 || (step - turn.first) % turns.span != 0 || step == turn.start) return false;
  const heads = turn.to - turn.from;
  if (heads <= turns.unit || <i64>(turn.last - step) * <i64>heads * <i64>turns.bytes < WORTH_SHARING) return false;
  turn.stop = step;
  return true;
}

/** Spans of the turn's items that are done, the largest number where all are: what `Parted` of src/runtime expects. */
// @ts-ignore: decorator
@inline
export function spansDone(turn: Turn, turns: Turns): i32 {
  return turn.stop == turn.last ? i32.MAX_VALUE : (turn.stop - turn.first) / turns.span;
}

/** Where the states come from that the turn begins with: h0 unless another thread has had them. */
// @ts-ignore: decorator
@inline
export function statesBefore(turn: Turn, turns: Turns, h0: usize): usize {
  return turn.start == turn.first ? h0 : turns.carried;
}

/** Where its states go: to hT unless it stopped early. */
// @ts-ignore: decorator
@inline
export function statesAfter(turn: Turn, turns: Turns, hT: usize): usize {
  return turn.stop == turn.last ? hT : turns.carried;
}
