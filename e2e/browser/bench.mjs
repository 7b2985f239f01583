// How long JupyterLab takes in a browser: node bench.mjs URL TOKEN
// Prints one JSON object: milliseconds from the navigation to a launcher that a click reaches, without anything in the browser's
// cache (cold) and with all (warm), of each when the files of the folder are there (files), what the page's own thread
// worked until the launcher (work), how long any request was under way (asking), and requests and bytes that went over the
// network; from the launcher of a page that has settled to a notebook whose kernel is idle (kernel); from Shift+Enter to the output (run), the median
// of 25 lines.
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
  const settled = new Promise(resolve => cdp.on('Network.requestWillBeSent', e => { // its last step is that it saves the workspace
    if (e.request.method === 'PUT' && /\/lab\/api\/workspaces\//.test(e.request.url)) { resolve(); }
  }));
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
  const ms = await when(page, () => {
    const card = document.querySelector('.jp-LauncherCard');
    const box = card?.getBoundingClientRect();
    return box && card.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)); // a click reaches it
  });
  const { metrics } = await cdp.send('Performance.getMetrics');
  const work = 1000 * metrics.find(m => m.name === 'TaskDuration').value;
  const measured = { ms, work, asking: 1000 * covered(asked), ...net };
  const files = await when(page, () => document.querySelector('.jp-DirListing-content') && !document.querySelector('.jp-mod-restoring'));
  return { page, settled, files, ...measured };
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
await warm.settled;
const clicked = await page.evaluate(() => {
  document.querySelector('.jp-LauncherCard[data-category="Notebook"]').click();
  return performance.now();
});
const idle = await when(page, () => /\| Idle/.test(document.querySelector('#jp-main-statusbar')?.textContent)
  && document.querySelector('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]'));
await nb.idle();

await page.evaluate(() => window.addEventListener('keydown', () => { window.pressed = performance.now(); }, { capture: true }));
const lines = [];
for (let i = 0; i <= 25; i++) {
  await nb.write(i, `print(${i} + 1000)`);
  await nb.start(i);
  const shown = await when(page, i => document.querySelector(`.jp-Notebook .jp-Cell[data-windowed-list-index="${i}"] .jp-OutputArea-output`)
    ?.textContent.includes(String(1000 + i)), i);
  lines.push(shown - await page.evaluate(() => window.pressed));
  await nb.ran(i);
}
lines.shift(); // the first cell is slower: its code is compiled in the browser
const run = lines.sort((a, b) => a - b)[12];
await context.close();
rmSync(profile, { recursive: true, force: true });
const figures = ({ page: _, settled: __, ...rest }) => rest;
console.log(JSON.stringify({ cold: figures(cold), warm: figures(warm), kernel: idle - clicked, run }));
