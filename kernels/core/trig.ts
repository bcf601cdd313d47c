// Sine and cosine of one number in double precision: x = n pi/2 + r with |r| <= pi/4, and their series in r, whose
// first term left out is below 1e-11. n pi/2 is exact to 1e-16 |x|.

/** x - n pi / 2 */
// @ts-ignore: decorator
@inline
function remainder(x: f64, n: f64): f64 {
  return x - n * 1.5707963267948966 - n * 6.123233995736766e-17;
}

// @ts-ignore: decorator
@inline
function sinSeries(r: f64): f64 {
  const z = r * r;
  let p = 1 - z / 110;
  p = 1 - z / 72 * p;
  p = 1 - z / 42 * p;
  p = 1 - z / 20 * p;
  return r * (1 - z / 6 * p);
}

// @ts-ignore: decorator
@inline
function cosSeries(r: f64): f64 {
  const z = r * r;
  let p = 1 - z / 132;
  p = 1 - z / 90 * p;
  p = 1 - z / 56 * p;
  p = 1 - z / 30 * p;
  p = 1 - z / 12 * p;
  return 1 - z / 2 * p;
}

/** sin(x + turns pi/2) */
export function sinTurned(x: f64, turns: i64): f64 {
  const n = nearest<f64>(x * 0.6366197723675814);
  const r = remainder(x, n), quadrant = (<i64>n + turns) & 3;
  const s = quadrant & 1 ? cosSeries(r) : sinSeries(r);
  return quadrant & 2 ? -s : s;
}

// @ts-ignore: decorator
@inline
export function sin(x: f64): f64 {
  return sinTurned(x, 0);
}

// @ts-ignore: decorator
@inline
export function cos(x: f64): f64 {
  return sinTurned(x, 1);
}
