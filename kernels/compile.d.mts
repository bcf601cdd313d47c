export declare const LEVELS: Record<'simd' | 'relaxed', string[]>;
export declare function compileKernels(
  entry: string,
  level: 'simd' | 'relaxed',
): Promise<{ binary: Uint8Array<ArrayBuffer>; declarations: string }>;
