// A page that is closed while its cells run, in JupyterLab as it is: node closing.mjs URL TOKEN [SHOTS]
// What they print is there when the notebook is opened again; nobody is asked about a file that has changed.
import assert from 'node:assert/strict';
import { Lab, patience } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
const headers = { Authorization: `token ${token}` };
const api = lab.context.request;

/** Lets the cells that wait for this file go on. */
const pass = name => api.put(base + 'api/contents/' + name, { headers, data: { type: 'file', format: 'text', content: '' } });
const gate = name => `import os, time\nwhile not os.path.exists("${name}"): time.sleep(0.02)\n`;

/** The notebook as the server gives it. */
const read = async name => (await (await api.get(base + 'api/contents/' + name, { headers })).json()).content;

/** Waits until nothing runs. */
async function ended() {
  for (const end = Date.now() + patience; ;) {
    assert.ok(Date.now() < end, 'cells run too long');
    const kernels = await (await api.get(base + 'api/kernels', { headers })).json();
    if (kernels.every(k => k.execution_state === 'idle')) { return; }
    await new Promise(r => setTimeout(r, 50));
  }
}

async function make(name, sources) {
  const cells = sources.map((source, i) => ({
    cell_type: 'code', metadata: {}, source, execution_count: null, outputs: [], id: 'cell-' + i
  }));
  const content = { cells, metadata: { kernelspec: { name: 'python3', display_name: 'Python 3' } }, nbformat: 4, nbformat_minor: 5 };
  const saved = await api.put(base + 'api/contents/' + name, { headers, data: { type: 'notebook', format: 'json', content } });
  assert.ok(saved.ok());
}

/** Opens a notebook in a new tab with nothing else, and waits for its kernel. */
async function open(name, idle = true) {
  lab.page = await lab.tab();
  await lab.goto(`lab/workspaces/w${Math.random().toString(36).slice(2)}/tree/${name}`);
  const nb = lab.book();
  await nb.cell(0).waitFor();
  if (idle) { await nb.idle(); }
  return nb;
}

/** Saves as a user does, who must not be asked anything. */
async function save(nb, name) {
  await nb.cell(0).locator('.jp-InputPrompt').click();
  const put = lab.page.waitForResponse(r => r.request().method() === 'PUT' && r.url().includes('api/contents/' + name));
  await lab.page.keyboard.press('Control+s');
  assert.ok((await put).ok());
  assert.equal(await lab.page.locator('.jp-Dialog').count(), 0, 'nobody is asked');
}

const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

async function closed() {
  await make('closing.ipynb', [
    'print("one")\n' + gate('go') + 'print("two")',
    'import sys\nfor i in range(0, 101, 10): print(f"\\r{i:3}% " + "#" * (i // 10), end="", file=sys.stderr)',
    `import base64\nfrom IPython.display import display, Image, HTML\ndisplay(Image(data=base64.b64decode("${pixel}"), format="png", width=80, height=20))\nHTML("<b id=bold>bold</b>")`,
    '1 / 0',
    '"never"',
    '"untouched"'
  ]);
  let nb = await open('closing.ipynb');
  await nb.cell(0).locator('.cm-content').click();
  for (let i = 0; i < 5; i++) { await lab.page.keyboard.press('Shift+Enter'); } // run all but the last
  await nb.shows(0, /one/);
  await lab.page.close();

  nb = await open('closing.ipynb', false);
  await nb.shows(0, /one/); // in the middle
  await lab.shot('closing-middle');
  await pass('go');
  await ended();
  await nb.write(5, '"edited"'); // so that there is something to save; this page is older than the outputs
  await save(nb, 'closing.ipynb');
  let book = await read('closing.ipynb');
  assert.equal(book.cells[0].outputs[0].text, 'one\ntwo\n');
  assert.equal(book.cells[5].source, '"edited"');
  await save(nb, 'closing.ipynb');
  await lab.page.reload();
  await lab.ready();
  nb = lab.book();
  await nb.idle();
  await nb.shows(0, /one\s+two/);
  await nb.shows(1, /100% ##########/);
  assert.equal(await nb.cell(2).locator('.jp-OutputArea img').count(), 1);
  assert.equal(await nb.cell(2).locator('#bold').count(), 1);
  await nb.shows(3, /ZeroDivisionError/);
  assert.equal(await nb.output(4).count(), 0);
  for (const i of [0, 1, 2, 3]) { await nb.ran(i); }
  await lab.shot('closing-later');

  await nb.cell(0).locator('.cm-content').click();
  await lab.menu('Edit', 'Clear Cell Output');
  await save(nb, 'closing.ipynb');
  await lab.page.reload();
  await lab.ready();
  nb = lab.book();
  await nb.shows(1, /100%/);
  assert.equal(await nb.output(0).count(), 0, 'what is cleared by hand stays cleared');
  await nb.idle();
  await nb.start(1, 'print("again")');
  await nb.shows(1, /again/);
  await save(nb, 'closing.ipynb');
  await lab.page.close();
  book = await read('closing.ipynb');
  assert.equal(book.cells[1].outputs[0].text, 'again\n');
  assert.equal(book.cells[0].outputs.length, 0);
}

async function input() { 
  await make('input.ipynb', ['print("hello", flush=True)\ninput("Who? ")', '"next"']);
  let nb = await open('input.ipynb');
  await nb.cell(0).locator('.cm-content').click();
  await lab.page.keyboard.press('Shift+Enter');
  await lab.page.locator('.jp-Stdin-input').waitFor();
  await lab.page.close();
  nb = await open('input.ipynb', false);
  await nb.shows(0, /hello[\s\S]*Who\?/);
  await lab.shot('closing-input');
  await lab.menu('Kernel', 'Interrupt Kernel');
  await nb.idle();
  const outputs = JSON.stringify((await read('input.ipynb')).cells[0].outputs);
  assert.match(outputs, /hello.*Who\?.*KeyboardInterrupt/);
  await lab.page.close();
}

let failed = false;
try {
  await closed();
  await input();
  console.log('ok');
} catch (e) {
  failed = true;
  console.error('failed', e);
  await lab.shot('closing-failed');
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
