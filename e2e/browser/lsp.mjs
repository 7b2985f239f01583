// Language servers in JupyterLab: node lsp.mjs URL TOKEN [SHOTS]
// Nothing runs before a document wants it; then the cells of a notebook and a file have diagnostics, which no kernel gives.
import assert from 'node:assert/strict';
import { Lab } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
const { page } = lab;
const headers = { Authorization: `token ${token}` };
const { request } = lab.context;

async function put(path, data) {
  const res = await request.put(base + path, { headers, data });
  assert.ok(res.ok(), `${path}: ${res.status()} ${await res.text()}`);
}

const status = async () => (await (await request.get(base + 'lsp/status', { headers })).json()).sessions.pylsp;
const code = (id, source) => ({ cell_type: 'code', id, metadata: {}, source, execution_count: null, outputs: [] });

let failed = '';
async function part(name, work) {
  failed = name;
  await work();
  failed = '';
  await lab.shot('lsp-' + name.replaceAll(' ', '-'));
  console.log('ok', name);
}

try {
  await put('lab/api/settings/@jupyterlab/lsp-extension:plugin', { raw: '{"activate": "on"}' });
  const cells = [code('a', 'from collections import OrderedDict\nd = OrderedDict()'), code('b', 'd[1] = no_such_name')];
  const metadata = { kernelspec: { name: 'python3', display_name: 'Python 3' }, language_info: { name: 'python', mimetype: 'text/x-python' } };
  await put('api/contents/cells.ipynb', { type: 'notebook', format: 'json', content: { cells, metadata, nbformat: 4, nbformat_minor: 5 } });
  await put('api/contents/plain.py', { type: 'file', format: 'text', content: 'also_missing()\n' });

  await part('nothing runs without a document', async () => {
    await lab.goto('lab');
    assert.equal((await status()).status, 'not_started');
  });
  await part('diagnostics in a cell', async () => {
    await lab.goto('lab/tree/cells.ipynb');
    await lab.book().idle();
    await lab.book().cell(1).locator('.cm-lintRange', { hasText: 'no_such_name' }).waitFor();
    assert.equal((await status()).handler_count, 1);
    assert.equal(await lab.book().cell(1).locator('.cm-lintRange').count(), 1, 'd comes from the cell before');
  });
  await part('diagnostics in a file', async () => {
    await lab.goto('lab/tree/plain.py');
    await page.locator('.jp-FileEditor .cm-lintRange', { hasText: 'also_missing' }).waitFor();
  });
  await part('no process without a page', async () => {
    await page.goto('about:blank');
    const end = Date.now() + 60_000;
    while ((await status()).handler_count > 0) { assert.ok(Date.now() < end, 'the page has gone'); }
    assert.equal((await status()).status, 'stopped');
  });
} catch (e) {
  console.error('failed', failed, e);
  await lab.shot('failed');
  process.exitCode = 1;
}
if (lab.errors.length > 0) {
  console.error('the console has errors:', lab.errors);
  process.exitCode = 1;
}
await lab.close();
