/** An index below n, drawn in proportion to its weight; negative weights count as 0. */
export function drawIndex(n: number, weight: (i: number) => number, random: () => number): number {
  let total = 0;
  for (let i = 0; i < n; i++) total += Math.max(weight(i), 0);
  let left = random() * total;
  let last = 0;
  for (let i = 0; i < n; i++) {
    const own = Math.max(weight(i), 0);
    if (own === 0) continue;
    last = i;
    left -= own;
    if (left < 0) return i;
  }
  return last;
}
