// tfjs-core has no gradients for its own ops unless all of tfjs is imported; the layers here need those of three.
import { matMul, registerGradient, reshape, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';

registerGradient({
  kernelName: 'Add',
  // of equal shapes
  gradFunc: (dy) => ({ a: () => dy as Tensor, b: () => dy as Tensor }),
});

registerGradient({
  kernelName: 'Reshape',
  inputsToSave: ['x'],
  gradFunc: (dy, [x]) => ({ x: () => reshape(dy as Tensor, x.shape) }),
});

registerGradient({
  kernelName: 'BatchMatMul',
  inputsToSave: ['a', 'b'],
  // of plain products, nothing transposed
  gradFunc: (dy, [a, b]) => ({
    a: () => matMul(dy as Tensor2D, b as Tensor2D, false, true),
    b: () => matMul(a as Tensor2D, dy as Tensor2D, true, false),
  }),
});
