store<f32>(0, 1);

export function nothing(): void {}
