/** How a call is cut into work items, as `takeTurns` of src/linear writes it. */
@unmanaged
export class Turns {
  /** int32 [N + 1], in tokens of `steps` steps each */
  offsets: usize;
  steps: i32;
  heads: i32;
  /** heads of an item, which take turns at a chunk, so that its rows are read in the order they lie in */
  together: i32;
  /** items that begin a sequence; item i + lanes goes on where item i has stopped, `span` steps after its start */
  lanes: i32;
  span: i32;
  /** [N, heads] states between items of `bytes` each, 0 where no item goes on */
  carried: usize;
  bytes: usize;
}

/** What a work item takes: heads [from, to) of a sequence, and of its steps [first, last) those of [start, stop). */
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

/** Whether the item has anything to do: its sequence may be over. */
export function takeTurn(turn: Turn, turns: Turns, item: i32): bool {
  const groups = (turns.heads + turns.together - 1) / turns.together, lane = item % turns.lanes;
  turn.sequence = lane / groups;
  turn.from = lane % groups * turns.together;
  turn.to = min(turn.from + turns.together, turns.heads);
  const bounds = turns.offsets + (<usize>turn.sequence << 2);
  turn.first = load<i32>(bounds) * turns.steps;
  turn.last = load<i32>(bounds, 4) * turns.steps;
  turn.start = turn.first + item / turns.lanes * turns.span;
  turn.stop = min(turn.start + turns.span, turn.last);
  return turn.start < turn.last || item < turns.lanes;
}

/** Where the state of a head lies: between the items of its sequence, or among `states` of this item. */
// @ts-ignore: decorator
@inline
export function stateOf(turn: Turn, turns: Turns, head: i32, states: usize): usize {
  if (!turns.carried) return states + <usize>(head - turn.from) * turns.bytes;
  return turns.carried + <usize>(turn.sequence * turns.heads + head) * turns.bytes;
}
