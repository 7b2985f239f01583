// A day's work in Jupyter Notebook 7, page by page: node tree.mjs URL TOKEN [SHOTS]
// The server must serve Jupyter Notebook and JupyterLab, have a python3 kernel with matplotlib, and an empty root folder.
// Prints one line for each part, and ends with 1 at the first that fails or when a console has shown an error.
import assert from 'node:assert/strict';
import { Lab, Notebook, patience } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
// Jupyter Notebook 7.6's own: the same lines come when `jupyter notebook` serves it. It looks for a plugin's schema and for
// a command that only JupyterLab has, and for an icon at another place; the list of files makes widgets for what it opens in
// another tab, and forgets them; two tabs with no name are two of one name.
lab.expected.push(/reading 'schema'[\s\S]*static\/notebook\//, /404 .*static\/notebook\/favicons\/favicon-console\.ico/,
  /Command 'filebrowser:open-path' not registered/, /Error: Disposed[\s\S]*_handleNewSession/, /Window name candidate "null" already exists/,
  /reading 'options'[\s\S]*setOption/, /Canceled future for history_request message before replies were done/);
const home = lab.page;
const headers = { Authorization: `token ${token}` };

/** Asks the server for JSON. */
async function api(path) {
  const res = await lab.context.request.get(base + path, { headers });
  assert.equal(res.status(), 200, path);
  return res.json();
}

async function eventually(what, test) {
  for (const end = Date.now() + patience; !await test();) {
    assert.ok(Date.now() < end, 'waited in vain: ' + what);
    await home.waitForTimeout(20);
  }
}

const names = async folder => (await api('api/contents/' + folder)).content.map(f => f.name);

/** Makes a file, for which a cell may wait. */
async function make(file) {
  const made = await lab.context.request.put(base + 'api/contents/' + file, { headers, data: { type: 'file', format: 'text', content: '' } });
  assert.ok(made.ok());
}

/** The tab that act opens, in front. */
async function opened(address, act) {
  const tab = lab.context.waitForEvent('page');
  await act();
  lab.page = await tab;
  await lab.page.waitForURL(address, { waitUntil: 'commit' });
  await lab.ready();
  return lab.page;
}

async function back() {
  await lab.page.close();
  lab.page = home;
  await home.bringToFront();
}

const fromNew = async label => {
  await home.locator('.jp-DropdownMenu .lm-MenuBar-item', { hasText: 'New' }).click();
  await home.locator('.lm-Menu-item:visible', { hasText: label }).first().click();
};

const listed = name => home.locator('.jp-DirListing-item', { has: home.getByText(name, { exact: true }) });

/** Types the name of the entry that is being renamed. */
async function named(name) {
  await home.locator('input.jp-DirListing-editor').fill(name);
  await home.keyboard.press('Enter');
  await listed(name).waitFor();
}

/** A notebook that has its page to itself: there is no status bar. */
class Book extends Notebook {
  async idle() {
    await this.panel.locator('.jp-Toolbar-kernelName', { hasText: 'Python 3' }).waitFor();
    await this.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').waitFor();
  }
}

const book = () => new Book(lab.page);

const parts = {};

parts['the list of files, a new folder, an upload, another name'] = async () => {
  await lab.goto('tree');
  await fromNew('New Folder');
  await named('work');
  await listed('work').dblclick();
  await home.locator('.jp-BreadCrumbs-item', { hasText: 'work' }).waitFor();
  await eventually('the address of the folder', async () => home.url().endsWith('/tree/work'));
  const chooser = home.waitForEvent('filechooser');
  await home.locator('.jp-id-upload').click();
  await (await chooser).setFiles({ name: 'sent.txt', mimeType: 'text/plain', buffer: Buffer.from('one line\n') });
  await listed('sent.txt').locator('input[type="checkbox"]').check();
  await home.locator('#fileAction-rename').click();
  await named('kept.txt');
  assert.deepEqual(await names('work'), ['kept.txt']);
  await home.reload();
  await lab.ready();
  await listed('kept.txt').waitFor();
};

parts['a file is edited and saved'] = async () => {
  const page = await opened(/\/edit\/work\/kept\.txt/, () => listed('kept.txt').dblclick());
  await page.locator('.cm-content', { hasText: 'one line' }).click();
  await page.keyboard.press('Control+End');
  await page.keyboard.insertText('another');
  const saved = await lab.asked('PUT', /api\/contents\/work\/kept\.txt$/, () => page.keyboard.press('Control+s'));
  assert.ok(saved.ok());
  assert.equal((await api('api/contents/work/kept.txt')).content, 'one line\nanother');
  await back();
};

parts['a new notebook: run, plot, error, input'] = async () => {
  await opened(/\/notebooks\/work\/Untitled\.ipynb/, () => fromNew('Python 3'));
  const nb = book();
  await nb.idle();
  await nb.run(0, 'print(6 * 7)');
  await nb.shows(0, '42');
  await nb.run(1, '%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);');
  await nb.output(1).locator('img').waitFor();
  await nb.run(2, '1 / 0');
  await nb.shows(2, /ZeroDivisionError: division by zero/);
  await nb.start(3, 'print("Hello", input("Your name? "))');
  await lab.page.locator('.jp-Stdin-input').fill('Ada');
  await lab.page.keyboard.press('Enter');
  await nb.ran(3);
  await nb.shows(3, /Hello Ada/);
};

parts['another name, saved'] = async () => {
  await lab.page.locator('#jp-title h1').click();
  await lab.page.locator('.jp-Dialog input').fill('book.ipynb');
  await lab.dialog('Rename');
  await lab.page.locator('#jp-title h1', { hasText: /^book/ }).waitFor();
  await lab.page.waitForURL(/\/notebooks\/work(\/|%2F)book\.ipynb/);
  const saved = await lab.asked('PUT', /api\/contents\/work\/book\.ipynb$/, () => lab.page.keyboard.press('Control+s'));
  assert.ok(saved.ok());
  const { content } = await api('api/contents/work/book.ipynb');
  assert.match(JSON.stringify(content.cells), /Hello Ada/);
  assert.equal((await api('api/sessions'))[0].path, 'work/book.ipynb');
  await lab.shot('notebook');
};

parts['interrupt and restart'] = async () => {
  const nb = book();
  await nb.start(4, 'import time\nprint("asleep", flush=True)\ntime.sleep(1000)');
  await nb.shows(4, /asleep/);
  await nb.panel.locator('jp-button[data-command="notebook:interrupt-kernel"]').click();
  await nb.ran(4);
  await nb.shows(4, /KeyboardInterrupt/);
  await nb.panel.locator('jp-button[data-command="notebook:restart-kernel"]').click();
  await lab.asked('POST', /\/restart$/, () => lab.dialog('Restart'));
  await nb.idle();
  await nb.run(5, 'plt');
  await nb.shows(5, /NameError/);
};

parts['a reload while a cell runs'] = async () => {
  let nb = book();
  await nb.start(6, 'import os, time\nn = 0\nwhile not os.path.exists("enough"):\n    print("tick", n, flush=True)\n    n += 1\n    time.sleep(0.2)\n' +
    'print("over,", input("Who? "))');
  await nb.shows(6, /tick 3\n/);
  await nb.start(7, '"queued"');
  await nb.cell(8).locator('.cm-content').click(); // where the keyboard means the notebook
  const saved = await lab.asked('PUT', /api\/contents\/work\/book\.ipynb$/, () => lab.page.keyboard.press('Control+s'));
  assert.ok(saved.ok());
  await lab.page.reload();
  await lab.ready();
  nb = book();
  let seen;
  while (!seen) { // a page that joins makes its outputs anew
    await nb.shows(6, /tick \d+\n/);
    [, seen] = /(\d+)\s*$/.exec(await nb.cell(6).locator('.jp-OutputArea').first().innerText()) ?? [];
  }
  await nb.shows(6, new RegExp(`tick ${Number(seen) + 5}\n`));
  await make('work/enough');
  await lab.page.locator('.jp-Stdin-input').fill('Grace');
  await lab.page.keyboard.press('Enter');
  await nb.shows(6, /over, Grace/);
  await nb.ran(6);
  await nb.shows(7, /queued/);
  await nb.ran(7);
  assert.equal((await nb.output(6).allInnerTexts()).join('').match(/tick 0\n/g).length, 1, 'nothing comes twice');
};

parts['to JupyterLab and back'] = async () => {
  const before = lab.page;
  await opened(/\/doc\/tree\/work\/book\.ipynb/, () => lab.menu('View', 'Open in JupyterLab'));
  await book().idle();
  await opened(/\/notebooks\/work(\/|%2F)book\.ipynb/, () =>
    book().panel.locator('jp-button[data-command="jupyter-notebook:open-notebook"]').click());
  await book().idle();
  assert.equal((await api('api/kernels')).length, 1, 'all of them have one kernel');
  for (const page of lab.context.pages()) {
    if (page !== home && page !== before) { await page.close(); }
  }
  lab.page = before;
  await back();
};

parts['a terminal'] = async () => {
  const page = await opened(/\/terminals\/\d+/, () => fromNew('Terminal'));
  await page.locator('.jp-Terminal textarea').focus();
  await page.keyboard.type('echo term-$((6*7)) > term.txt\n');
  await eventually('what the terminal wrote', async () => [...await names(''), ...await names('work')].includes('term.txt'));
  await back();
};

parts['a console'] = async () => {
  const page = await opened(/\/consoles\//, async () => {
    await fromNew('Console');
    await lab.dialog('Select', home);
  });
  await page.locator('.jp-CodeConsole-banner').waitFor();
  await page.locator('.jp-CodeConsole-promptCell .cm-content').click();
  await page.keyboard.insertText('"con" + "sole"');
  await page.keyboard.press('Shift+Enter');
  await page.locator('.jp-CodeConsole-content .jp-OutputArea-output', { hasText: 'console' }).waitFor();
  await back();
};

parts['what runs, and its end'] = async () => {
  await home.locator('.jp-TreePanel .lm-TabBar-tab', { hasText: 'Running' }).click();
  const running = home.locator('.jp-RunningSessions-item');
  await running.filter({ hasText: 'terminals/' }).waitFor();
  await lab.shot('running');
  // The row has the name of the session, which may still be the notebook's first one: the page tells the server path and
  // name one by one, and at times the old name last.
  const kernel = running.filter({ hasText: /(book|Untitled)\.ipynb/ });
  await kernel.first().hover();
  await kernel.first().locator('.jp-RunningSessions-itemShutdown').first().click();
  await eventually('the end of the session', async () => !(await api('api/sessions')).some(s => s.path === 'work/book.ipynb'));
  await home.locator('.jp-TreePanel .lm-TabBar-tab', { hasText: 'Files' }).click();
};

parts['a theme that is kept'] = async () => {
  await lab.menu('Settings', /^Theme/, 'JupyterLab Dark');
  await home.waitForSelector('body[data-jp-theme-name="JupyterLab Dark"]', { state: 'attached' });
  await eventually('the setting', async () =>
    (await api('lab/api/settings/@jupyterlab/apputils-extension:themes')).settings.theme === 'JupyterLab Dark');
  await home.reload();
  await lab.ready();
  await home.waitForSelector('body[data-jp-theme-name="JupyterLab Dark"]', { state: 'attached' });
  await listed('book.ipynb').waitFor();
  await lab.shot('tree');
};

let failed = '';
for (const [name, run] of Object.entries(parts)) {
  const began = Date.now();
  try {
    await run();
    console.log(`ok ${name} (${Date.now() - began} ms)`);
  } catch (e) {
    failed = name;
    console.error('failed', name, e);
    console.error('dialogs:', await lab.page.locator('.jp-Dialog').allInnerTexts());
    await lab.shot('failed');
    break;
  }
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
