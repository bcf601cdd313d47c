/**
 * The row-wise choice of columns of scores [N, E] with the greatest sum, each column chosen at most `ceil(N / E)` times,
 * found exactly: rows are assigned one by one, each along the chain of reassignments that costs least. A chain passes
 * a full column by moving one of its rows on, the one that loses least, so it is a shortest path between E columns.
 */
export function balancedAssignment(scores: ArrayLike<number>, E: number): Int32Array {
  const N = E === 0 ? 0 : scores.length / E;
  const capacity = Math.ceil(N / E);
  const chosen = new Int32Array(N).fill(-1);
  const load = new Int32Array(E);
  // exits[from][to]: rows of `from` by what they lose in moving to `to`, least first
  const exits = Array.from({ length: E }, () => Array.from({ length: E }, () => new Heap()));

  function settle(row: number, column: number): void {
    chosen[row] = column;
    for (let to = 0; to < E; to++) {
      if (to !== column) exits[column][to].push(scores[row * E + column] - scores[row * E + to], row);
    }
  }
  function cheapestExit(from: number, to: number): [loss: number, row: number] | undefined {
    const heap = exits[from][to];
    while (heap.size > 0 && chosen[heap.row] !== from) heap.pop();
    return heap.size > 0 ? [heap.loss, heap.row] : undefined;
  }

  for (let row = 0; row < N; row++) {
    // losses along chains can be negative, so paths settle by rounds of relaxation
    const loss = Array.from({ length: E }, (_, e) => -scores[row * E + e]);
    const mover = new Int32Array(E).fill(row);
    const before = new Int32Array(E).fill(-1);
    for (let round = 0, changed = true; changed && round < E; round++) {
      changed = false;
      for (let from = 0; from < E; from++) {
        if (load[from] < capacity) continue;
        for (let to = 0; to < E; to++) {
          const exit = to === from ? undefined : cheapestExit(from, to);
          if (exit === undefined || loss[from] + exit[0] >= loss[to] - 1e-12) continue;
          loss[to] = loss[from] + exit[0];
          mover[to] = exit[1];
          before[to] = from;
          changed = true;
        }
      }
    }
    let end = -1;
    for (let e = 0; e < E; e++) if (load[e] < capacity && (end < 0 || loss[e] < loss[end])) end = e;
    load[end]++;
    for (let column = end; column >= 0; column = before[column]) settle(mover[column], column);
  }
  return chosen;
}

/** A binary heap of rows, the least loss on top; equal losses give the lower row. */
class Heap {
  private readonly losses: number[] = [];
  private readonly rows: number[] = [];

  get size(): number {
    return this.rows.length;
  }
  get loss(): number {
    return this.losses[0];
  }
  get row(): number {
    return this.rows[0];
  }

  push(loss: number, row: number): void {
    this.losses.push(loss);
    this.rows.push(row);
    let at = this.size - 1;
    for (let parent = (at - 1) >> 1; at > 0 && this.less(at, parent); parent = (at - 1) >> 1) {
      this.swap(at, parent);
      at = parent;
    }
  }

  pop(): void {
    this.swap(0, this.size - 1);
    this.losses.pop();
    this.rows.pop();
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < this.size && this.less(child, least)) least = child;
      if (least === at) return;
      this.swap(at, least);
      at = least;
    }
  }

  private less(a: number, b: number): boolean {
    return (
      this.losses[a] < this.losses[b] || (this.losses[a] === this.losses[b] && this.rows[a] < this.rows[b])
    );
  }

  private swap(a: number, b: number): void {
    [this.losses[a], this.losses[b]] = [this.losses[b], this.losses[a]];
    [this.rows[a], this.rows[b]] = [this.rows[b], this.rows[a]];
  }
}
