// How long JupyterLab takes in a browser: node bench.mjs URL TOKEN
// Prints one JSON object: milliseconds from the navigation to a launcher that can be used, without anything in the browser's
// cache (cold) and with all (warm), of each what the page's own thread worked (work), how long any request was under way
// (asking), and requests and bytes that went over the network; from the launcher to a notebook whose kernel is idle (kernel); from Shift+Enter to the output (run).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Notebook, patience, switches } from './lab.mjs';

const [base, token] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'nbserv-bench-')); // on a disk, as a user's: also compiled scripts are kept
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.NBSERV_TEST_CHROMIUM || '/usr/bin/chromium', args: switches, viewport: { width: 1280, height: 800 }
});
context.setDefaultTimeout(patience);

/** Waits in the page for what test says, looked at with every frame; the milliseconds since the navigation then. */
const when = (page, test, argument) => page.waitForFunction(test, argument, { polling: 'raf' })
  .then(() => page.evaluate(() => performance.now()));

/** Loads a workspace that nobody has used. */
async function load() {
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send('Performance.enable');
  await cdp.send('Network.enable');
  const net = { requests: 0, bytes: 0 };
  const began = new Map();
  const asked = []; // from when to when, in seconds
  cdp.on('Network.requestWillBeSent', e => began.set(e.requestId, e.timestamp));
  cdp.on('Network.requestServedFromCache', e => began.delete(e.requestId));
  cdp.on('Network.responseReceived', e => { if (e.response.fromDiskCache) { began.delete(e.requestId); } });
  cdp.on('Network.loadingFinished', e => {
    if (!began.has(e.requestId)) { return; }
    net.requests++;
    net.bytes += e.encodedDataLength;
    asked.push([began.get(e.requestId), e.timestamp]);
  });
  await page.goto(`${base}lab/workspaces/b${Date.now()}?token=${token}`, { waitUntil: 'commit' });
  const ms = await when(page, () => document.querySelector('.jp-LauncherCard') && !document.querySelector('#jupyterlab-splash'));
  const { metrics } = await cdp.send('Performance.getMetrics');
  const work = 1000 * metrics.find(m => m.name === 'TaskDuration').value;
  return { page, ms, work, asking: 1000 * covered(asked), ...net };
}

/** The length of what intervals cover together. */
function covered(intervals) {
  let sum = 0, end = -Infinity;
  for (const [from, to] of intervals.sort((a, b) => a[0] - b[0])) {
    sum += Math.max(0, to - Math.max(from, end));
    end = Math.max(end, to);
  }
  return sum;
}

const cold = await load();
await cold.page.close();
await (await load()).page.close(); // after the second load the browser keeps compiled scripts
const warm = await load();

const { page } = warm;
const nb = new Notebook(page);
const clicked = await page.evaluate(() => {
  document.querySelector('.jp-LauncherCard[data-category="Notebook"]').click();
  return performance.now();
});
const idle = await when(page, () => /\| Idle/.test(document.querySelector('#jp-main-statusbar')?.textContent)
  && document.querySelector('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]'));
await nb.idle();

await nb.run(0, 'print("ready")'); // the first cell is slower: its code is compiled in the browser
await nb.shows(0, /ready/);
await nb.write(1, 'print(6 * 7)');
await page.evaluate(() => window.addEventListener('keydown', () => { window.pressed = performance.now(); }, { capture: true }));
await nb.start(1);
const shown = await when(page, () =>
  document.querySelector('.jp-Notebook .jp-Cell[data-windowed-list-index="1"] .jp-OutputArea-output')?.textContent.includes('42'));
const run = shown - await page.evaluate(() => window.pressed);
await context.close();
rmSync(profile, { recursive: true, force: true });
const figures = ({ page: _, ...rest }) => rest;
console.log(JSON.stringify({ cold: figures(cold), warm: figures(warm), kernel: idle - clicked, run }));
