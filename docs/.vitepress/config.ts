import { readFileSync } from 'node:fs';
import path from 'node:path';
import { defineConfig } from 'vitepress';
import { writeHtml } from '../../bench/html';
import { catalog } from '../../src/catalog';

const family = (name: string) =>
  catalog
    .filter((entry) => entry.family === name)
    .map((entry) => ({ text: entry.name, link: `/ops/${entry.name}` }));
const ops = (text: string, name: string) => ({ text, collapsed: true, items: family(name) });

export default defineConfig({
  title: 'linnet',
  description: 'Efficient-attention kernels for TensorFlow.js',
  cleanUrls: true,
  async buildEnd({ outDir }) {
    const results = new URL('../../bench/results/node20.json', import.meta.url);
    await writeHtml(JSON.parse(readFileSync(results, 'utf8')), path.join(outDir, 'report.html'));
  },
  themeConfig: {
    search: { provider: 'local' },
    nav: [
      { text: 'Quick start', link: '/' },
      { text: 'Guides', link: '/guide/install' },
      { text: 'Ops', link: '/ops/' },
      { text: 'Models', link: '/models' },
      { text: 'Bench', link: '/bench' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: [
      {
        text: 'Guides',
        items: [
          { text: 'Quick start', link: '/' },
          { text: 'Install and bundlers', link: '/guide/install' },
          { text: 'Choosing an op', link: '/guide/choosing' },
          { text: 'Names of other libraries', link: '/guide/names' },
          { text: 'Gradients and training', link: '/guide/training' },
          { text: 'Tensors and memory', link: '/guide/memory' },
          { text: 'Threads', link: '/guide/threads' },
          { text: 'Numerics', link: '/guide/numerics' },
          { text: 'Models', link: '/models' },
          { text: 'Examples', link: '/examples' },
          { text: 'Speed', link: '/bench' },
          { text: 'A survey’s taxonomy', link: '/survey' },
          { text: 'Contributing', link: '/contributing' },
        ],
      },
      {
        text: 'Families',
        items: [
          { text: 'Attention', link: '/attention' },
          { text: 'Sparse attention', link: '/sparse' },
          { text: 'Sparse by content, KV cache', link: '/sparse-by-content' },
          { text: 'Linear attention', link: '/linear' },
          { text: 'Beyond linear', link: '/linear-beyond' },
          { text: 'State-space models', link: '/ssm' },
          { text: 'Mixture of experts', link: '/moe' },
          { text: 'Norms and positions', link: '/nn' },
          { text: 'Diffusion language models', link: '/diffusion' },
          { text: 'Other modalities', link: '/modalities' },
        ],
      },
      {
        text: 'Ops',
        items: [
          { text: 'All', link: '/ops/' },
          ops('Attention', 'attention'),
          ops('Sparse attention', 'sparse'),
          ops('Linear attention', 'linear'),
          ops('State-space models', 'ssm'),
          ops('Mixture of experts', 'moe'),
          ops('Norms and positions', 'nn'),
        ],
      },
    ],
  },
});
