// A file of several GB through JupyterLab's file browser, which sends it in chunks: node large.mjs URL TOKEN FILE
// Ends when the server has as many bytes, and prints how long that took.
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { Lab } from './lab.mjs';

const [base, token, file] = process.argv.slice(2);
const lab = await Lab.open(base, token);
const { page } = lab;
const devtools = await lab.context.newCDPSession(page);
const { size } = statSync(file);
const name = basename(file);

let failed = false;
try {
  await lab.goto();
  const chooser = page.waitForEvent('filechooser');
  await page.locator('.jp-FileBrowser-toolbar [data-command="filebrowser:upload"], .jp-id-upload').first().click();
  await (await chooser).setFiles(file);
  const began = Date.now();
  await page.locator('.jp-Dialog .jp-Dialog-button', { hasText: 'Upload' }).click(); // "larger than 15 MB"
  for (let seen = -1; seen !== size;) {
    await page.waitForTimeout(2000);
    await devtools.send('HeapProfiler.collectGarbage'); // Chromium keeps what was sent, and refuses to send more at 512 MB
    if (lab.errors.length) { throw new Error('the page has shown an error'); }
    const model = await page.request.get(`${base}api/contents/${name}?content=0`);
    seen = model.ok() ? (await model.json()).size : -1;
  }
  console.log(`uploaded in ${((Date.now() - began) / 1000).toFixed(1)} s`);
} catch (e) {
  failed = true;
  console.error('failed', e);
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
