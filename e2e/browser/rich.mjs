// What notebooks show beside text: node rich.mjs URL TOKEN [SHOTS]
// Figures that answer, plots, progress bars, bytes in both directions, images in text, variables, exports.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Lab } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
const { page } = lab;
lab.expected.push(/attachment:it\.png/); // JupyterLab shows the image before it has looked for it
const headers = { Authorization: `token ${token}` };
const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const parts = {
  'an image attached to text': {
    markdown: 'Look: ![it](attachment:it.png)', attachments: { 'it.png': { 'image/png': pixel } },
    async check(cell) {
      const img = cell.locator('.jp-RenderedMarkdown img');
      await img.waitFor({ state: 'attached' });
      assert.ok(await img.evaluate(async i => { await i.decode(); return i.naturalWidth === 1; }));
    }
  },
  'ipympl': {
    code: '%matplotlib widget\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(3, 2))\nax.plot([1, 3, 2])\n' +
      'seen = []\nfig.canvas.mpl_connect("button_press_event", lambda e: ax.set_title("pressed") and fig.canvas.draw_idle())\nfig.canvas',
    async check(cell) {
      const canvas = cell.locator('.jupyter-matplotlib canvas').first();
      await canvas.waitFor();
      // Its pixels come as binary messages: it is not empty.
      await page.waitForFunction(c => {
        const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        return c.width > 0 && data.some((v, i) => i % 4 < 3 && v > 0 && v < 255);
      }, await canvas.elementHandle());
    }
  },
  'plotly': {
    code: 'import plotly.graph_objects as go\ngo.Figure(go.Scatter(y=[1, 3, 2]), layout={"height": 200})',
    check: cell => cell.locator('.js-plotly-plot .main-svg').first().waitFor()
  },
  'tqdm, as text and as a widget': {
    code: 'from tqdm import tqdm\nfrom tqdm.notebook import tqdm as bar\nfor _ in tqdm(range(7)): pass\nfor _ in bar(range(5)): pass',
    async check(cell) {
      await cell.locator('.jp-OutputArea-output', { hasText: '7/7' }).first().waitFor();
      await cell.locator('.jupyter-widgets', { hasText: '5/5' }).first().waitFor();
    }
  },
  'bytes to a widget and from one': {
    code: 'import base64, ipywidgets as w\nup, got = w.FileUpload(), w.Label()\n' +
      'up.observe(lambda change: setattr(got, "value", f"got {list(bytes(up.value[0].content))}"), "value")\n' +
      `w.VBox([w.Image(value=base64.b64decode("${pixel}"), width=20), up, got])`,
    async check(cell) {
      const img = cell.locator('img.widget-image');
      await img.waitFor({ state: 'attached' });
      assert.ok(await img.evaluate(async i => { await i.decode(); return i.naturalWidth === 1; }));
      const chooser = page.waitForEvent('filechooser');
      await cell.locator('button.jupyter-button').click();
      await (await chooser).setFiles({ name: 'b.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 255, 10, 128]) });
      await cell.getByText('got [0, 255, 10, 128]').waitFor();
    }
  }
};

async function make(name, cells) {
  const content = { cells, metadata: { kernelspec: { name: 'python3', display_name: 'Python 3' } }, nbformat: 4, nbformat_minor: 5 };
  const made = await lab.context.request.put(base + 'api/contents/' + name, { headers, data: { type: 'notebook', format: 'json', content } });
  assert.ok(made.ok());
}

const code = (id, source) => ({ cell_type: 'code', id, metadata: {}, source, execution_count: null, outputs: [] });

/** HTML with all that belongs to it, and the PDF of the File menu, which comes as a download; it is put beside the notebook. */
async function exports() {
  const html = await lab.context.request.get(`${base}nbconvert/html/rich.ipynb`, { headers, timeout: 0 });
  assert.equal(html.status(), 200);
  assert.ok((await html.text()).includes(pixel), 'the attachment is in the page');
  const download = new Promise(resolve => {
    page.once('download', resolve);
    lab.context.on('page', opened => opened.once('download', resolve));
  });
  await lab.menu('File', 'Save and Export Notebook As', /^PDF$/);
  const pdf = await download;
  assert.equal(pdf.suggestedFilename(), 'rich.pdf');
  const content = (await readFile(await pdf.path())).toString('base64');
  const put = await lab.context.request.put(base + 'api/contents/rich.pdf', { headers, data: { type: 'file', format: 'base64', content } });
  assert.ok(put.ok());
}

/** The variable inspector beside a notebook: it asks the kernel, out of sight, each time that a cell has run. */
async function variables() {
  await make('variables.ipynb', [code('a', 'x = 41'), code('b', 'x += 1')]);
  await lab.goto('lab/workspaces/variables/tree/variables.ipynb');
  const nb = lab.book();
  await nb.idle();
  await lab.command('Open Variable Inspector');
  const table = page.locator('.jp-VarInspector-table');
  await table.waitFor();
  const front = name => page.locator('#jp-main-dock-panel .lm-TabBar-tab', { hasText: name }).click();
  await front('variables.ipynb');
  await nb.cell(0).locator('.cm-content').click();
  await nb.run(0);
  await nb.run(1);
  await front('Variable Inspector');
  const row = table.locator('.jp-VarInspector-table-row', { has: page.getByText('x', { exact: true }) });
  await row.getByText('int', { exact: true }).waitFor();
  await row.getByText('42', { exact: true }).waitFor();
  await lab.shot('variables');
}

let failed = '';
try {
  await make('rich.ipynb', Object.values(parts).map((p, i) => p.code
    ? code('c' + i, p.code)
    : { cell_type: 'markdown', id: 'c' + i, metadata: {}, source: p.markdown, attachments: p.attachments }));
  await lab.goto('lab/tree/rich.ipynb');
  const nb = lab.book();
  await nb.idle();
  for (const [i, [name, part]] of Object.entries(parts).entries()) {
    failed = name;
    if (part.code) {
      await nb.cell(i).locator('.cm-content').click();
      await nb.run(i);
    }
    await part.check(nb.cell(i));
    console.log('ok', name);
    await lab.shot('rich-' + i);
  }
  failed = 'exports';
  await exports();
  failed = 'the variable inspector';
  await variables();
  console.log('ok', failed);
  failed = '';
} catch (e) {
  console.error('failed', failed, e);
  await lab.shot('failed');
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
