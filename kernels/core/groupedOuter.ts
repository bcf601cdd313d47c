import { rowAt } from './panel';
import { columnTile } from './tile';

const OUTER_ROWS: i32 = 128;

/** Rows [first, first + count) of columns [c, c + columns <= width) of a [*, C] side by side, [count][width], zero beyond. */
function packColumns(
  a: usize, index: usize, first: i32, count: i32, C: i32, c: i32, width: i32, out: usize,
): void {
  const row = <usize>C << 2, columns = min(width, C - c);
  for (let i = 0; i < count; i++) {
    const from = rowAt(a, index, first + i, row) + (<usize>c << 2);
    if (columns == 8) { v128.store(out, v128.load(from)); v128.store(out, v128.load(from, 16), 16); }
    else if (columns == 4 && width == 4) v128.store(out, v128.load(from));
    else {
      memory.fill(out, 0, <usize>width << 2);
      memory.copy(out, from, <usize>columns << 2);
    }
    out += <usize>width << 2;
  }
}

/**
 * out[e] = sum over slots of expert e of a[aIndex[slot]]^T b[bIndex[slot]] for experts [begin, end): a [*, M], b [*, N],
 * out [E, M, N]; slots of e are [offsets[e], offsets[e + 1]).
 * scratch: 128 * 4 * (M + 4 + 8) + 128 bytes.
 */
export function groupedOuter(
  a: usize, aIndex: usize, b: usize, bIndex: usize, out: usize, offsets: usize, scratch: usize,
  M: i32, N: i32, begin: i32, end: i32,
): void {
  const row = <usize>N << 2, matrix = <usize>M * row;
  const panelBytes = <usize>OUTER_ROWS << 4;
  const rowPanels = (M + 3) >> 2;
  const bPanel = scratch + <usize>rowPanels * panelBytes, edge = bPanel + (<usize>OUTER_ROWS << 5);
  for (let e = begin; e < end; e++) {
    const c = out + <usize>e * matrix;
    const from = load<i32>(offsets + (<usize>e << 2)), to = load<i32>(offsets + (<usize>e << 2), 4);
    if (from == to) memory.fill(c, 0, matrix);
    for (let first = from; first < to; first += OUTER_ROWS) {
      const count = min(OUTER_ROWS, to - first);
      for (let r = 0; r < rowPanels; r++) {
        packColumns(a, aIndex, first, count, M, r << 2, 4, scratch + <usize>r * panelBytes);
      }
      for (let n = 0; n < N; n += 8) {
        packColumns(b, bIndex, first, count, N, n, 8, bPanel);
        for (let r = 0; r < rowPanels; r++) {
          const rows = min(4, M - (r << 2)), columns = min(8, N - n);
          const corner = c + <usize>(r << 2) * row + (<usize>n << 2);
          const aPanel = scratch + <usize>r * panelBytes;
          if (rows == 4 && columns == 8) {
            columnTile(aPanel, 16, bPanel, 32, count, corner, row, first != from);
            continue;
          }
          columnTile(aPanel, 16, bPanel, 32, count, edge, 32, false);
          for (let i = 0; i < rows; i++) {
            for (let j = 0; j < columns; j++) {
              const at = corner + <usize>i * row + (<usize>j << 2);
              const value = load<f32>(edge + (<usize>i << 5) + (<usize>j << 2));
              store<f32>(at, first != from ? load<f32>(at) + value : value);
            }
          }
        }
      }
    }
  }
}
