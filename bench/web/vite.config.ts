import { realpathSync } from 'node:fs';
import { defineConfig } from 'vite';

const repository = new URL('../../', import.meta.url).pathname;
const packages = `${repository}node_modules`;

export default defineConfig({
  root: import.meta.dirname,
  // onnxruntime-web finds its binary beside its own module
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  server: {
    // threads share a heap only in a page that is cross-origin isolated
    headers: {
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    },
    fs: { allow: [repository, realpathSync(packages)] },
  },
});
