import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../bench/report';
import { launch, withoutBrowser } from './chromium';

let server: ViteDevServer;
let browser: Browser;
let page: Page;
const complaints: string[] = [];

describe.skipIf(withoutBrowser)('pages of a checkout', () => {
  beforeAll(async () => {
    const configFile = new URL('../../bench/web/vite.config.ts', import.meta.url).pathname;
    server = await createServer({
      configFile,
      logLevel: 'error',
      server: { port: 0, host: '127.0.0.1', watch: null },
    });
    await server.listen();
    browser = await launch();
    page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
    page.setDefaultTimeout(200_000);
    page.on('pageerror', (error) => complaints.push(error.message));
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  async function open(path: string): Promise<void> {
    const { port } = server.httpServer!.address() as AddressInfo;
    await page.goto(`http://127.0.0.1:${port}/${path}`);
    await page.waitForSelector('form button:not([disabled])');
  }

  /** Waits for the run to end, and keeps a picture where it is asked for. */
  async function finished(name: string): Promise<void> {
    await page.waitForFunction('document.querySelector("progress").value === 1');
    if (process.env.SCREENSHOTS)
      await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
  }

  it('the bench page times a workload on its threads and hands out the report', async () => {
    await open('index.html');
    expect(await page.textContent('#about')).toMatch(/[2-9]\d* of \d+ threads \(one per core\)/);
    await page.selectOption('[name=op]', 'topkRouting');
    await page.selectOption('[name=workload]', 'N4096 D256 E64 top-8');
    await page.click('form button');
    await finished('bench');
    expect(await page.locator('tbody tr').count()).toBe(1);
    expect(await page.textContent('tbody tr')).toMatch(/topkRouting.* ms.*one thread.*tfjs.*onnxruntime-web/);
    expect(await page.locator('circle').count()).toBe(1);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#download')]);
    const report: Report = JSON.parse(readFileSync(await download.path(), 'utf8'));
    expect(report.rows.map(({ op }) => op)).toEqual(['topkRouting']);
    expect(report.rows[0].times.linnet.median).toBeGreaterThan(0);
    expect(report.browser).toContain('Chrome');
    expect(complaints).toEqual([]);
  }, 300_000);

  it('the verify page shows the errors of an op', async () => {
    await open('verify.html');
    await page.selectOption('[name=op]', 'gatedDeltaRule');
    await page.click('form button');
    await finished('verify');
    expect(await page.textContent('tbody tr')).toMatch(/^gatedDeltaRule.*pass$/);
    expect(await page.locator('g[aria-label="rect"] rect').count()).toBeGreaterThan(3);
    expect(await page.textContent('#status')).toBe('1 of 1 pass.');
    expect(complaints).toEqual([]);
  }, 300_000);
});
