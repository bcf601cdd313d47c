declare module 'mnist' {
  /** By digit: pixels 0 to 1 of images of 28 by 28, one after another. */
  const digits: readonly { readonly raw: readonly number[]; readonly length: number }[];
  export default digits;
}
