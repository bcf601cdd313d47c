import type { BlockMask } from './blockMask';
import { EMPTY, FULL, keyBlocks, queryBlocks } from './blockTable';

export interface SvgOptions {
  /** Which head to draw; default 0, 0. */
  b?: number;
  h?: number;
  /** Longer side in pixels; default 256. */
  size?: number;
}

/** Masks of more pairs than this are drawn without the pairs of their partial blocks. */
const PAIRS_DRAWN = 2 ** 18;

function rowsOf({ table, B, H }: BlockMask, b: number, h: number) {
  const rows = queryBlocks(table);
  const first = ((B === 1 ? 0 : b) * H + (H === 1 ? 0 : h)) * rows;
  return Array.from({ length: rows }, (_, i) => {
    const runs: { lo: number; hi: number; code: number }[] = [];
    for (let run = table.offsets[first + i]; run < table.offsets[first + i + 1]; run++) {
      const [lo, hi, code] = table.runs.subarray(3 * run, 3 * run + 3);
      runs.push({ lo, hi, code });
    }
    return runs;
  });
}

export function drawText(mask: BlockMask, b: number, h: number, columns: number): string {
  const { B, H, Tq, Tkv, blockSize, blocks, table } = mask;
  const step = Math.max(1, Math.ceil(keyBlocks(table) / columns));
  const width = Math.ceil(keyBlocks(table) / step);
  const rows = rowsOf(mask, b, h);
  const lines: string[] = [];
  for (let first = 0; first < rows.length; first += step) {
    const cells = Array.from({ length: width }, () => ({ full: 0, partial: 0, all: 0 }));
    for (const runs of rows.slice(first, first + step)) {
      cells.forEach((cell, x) => {
        cell.all += Math.min(step, keyBlocks(table) - x * step);
      });
      for (const { lo, hi, code } of runs) {
        for (let block = lo / blockSize[1]; block < Math.ceil(hi / blockSize[1]); block++) {
          cells[Math.floor(block / step)][code === FULL ? 'full' : 'partial']++;
        }
      }
    }
    lines.push(
      cells
        .map(({ full, partial, all }) => (full === all ? '██' : full + partial > 0 ? '░░' : '··'))
        .join(''),
    );
  }
  const head = `BlockMask [${B}, ${H}, ${Tq}, ${Tkv}], blocks of ${blockSize[0]} x ${blockSize[1]}`;
  const counts = `${blocks.full} full, ${blocks.partial} partial, ${blocks.empty} empty: density ${mask.density.toFixed(3)}`;
  const scale = step === 1 ? '' : `\neach cell is ${step} x ${step} blocks`;
  return `${head}\n${counts}${scale}\n${lines.join('\n')}`;
}

export function drawSvg(mask: BlockMask, { b = 0, h = 0, size = 256 }: SvgOptions): string {
  const { Tq, Tkv, blockSize, table } = mask;
  const longer = Math.max(Tq, Tkv, 1);
  const paths: Record<'full' | 'partial' | 'pairs', string> = { full: '', partial: '', pairs: '' };
  const box = (x: number, y: number, width: number, height: number) =>
    `M${x} ${y}h${width}v${height}h${-width}z`;
  const detailed = Tq * Tkv <= PAIRS_DRAWN;
  rowsOf(mask, b, h).forEach((runs, i) => {
    const top = i * blockSize[0];
    const height = Math.min(blockSize[0], Tq - top);
    for (const { lo, hi, code } of runs) {
      paths[code === FULL ? 'full' : 'partial'] += box(lo, top, hi - lo, height);
      if (code <= EMPTY || code === FULL || !detailed) continue;
      for (let q = 0; q < height; q++) {
        for (let key = 0; key < hi - lo; key++) {
          const first = key;
          while (key < hi - lo && table.bitmaps.has(code, q, key)) key++;
          if (key > first) paths.pairs += box(lo + first, top + q, key - first, 1);
        }
      }
    }
  });
  const scale = size / longer;
  let grid = '';
  for (let x = blockSize[1]; x < Tkv; x += blockSize[1]) grid += `M${x} 0v${Tq}`;
  for (let y = blockSize[0]; y < Tq; y += blockSize[0]) grid += `M0 ${y}h${Tkv}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.round(Tkv * scale)}" height="${Math.round(Tq * scale)}" viewBox="0 0 ${Tkv} ${Tq}">`,
    `<title>Block mask of ${Tq} queries (down) by ${Tkv} keys (across)</title>`,
    `<rect width="${Tkv}" height="${Tq}" fill="#f4f4f5"/>`,
    `<path d="${paths.partial}" fill="${detailed ? '#dbeafe' : '#93c5fd'}"/>`,
    `<path d="${paths.full}" fill="#1d4ed8"/>`,
    `<path d="${paths.pairs}" fill="#3b82f6"/>`,
    `<path d="${grid}" stroke="#ffffff" stroke-width="${1 / scale}" fill="none"/>`,
    '</svg>',
    '',
  ].join('\n');
}
