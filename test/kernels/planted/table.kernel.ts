const table: StaticArray<f32> = [1, 2, 3, 5, 8, 13];

export function lookUp(i: i32): f32 {
  return unchecked(table[i]);
}
