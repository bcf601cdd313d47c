declare function log(x: f32): void;

export function loud(x: f32): void {
  log(x);
}
