// What the extension @nbserv/live does: node live.mjs URL TOKEN [SHOTS]
// An empty page has its launcher before the workspace is saved. Pages of one notebook while its cells run, one that is
// reloaded, one beside another, one that is left alone: what the cells print goes on appearing in all of them, and what
// they ask for can be typed.
import assert from 'node:assert/strict';
import { Lab } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
const { page } = lab;

async function save() {
  await lab.book().cell(2).locator('.cm-content').click(); // where the keyboard means the notebook
  const saved = await lab.asked('PUT', /api\/contents\/live.ipynb$/, () => page.keyboard.press('Control+s'));
  assert.ok(saved.ok());
}

/** Counts until the file is there, then asks for a name. */
const counting = (word, file) => [
  'import os, time', 'n = 0', `while not os.path.exists("${file}"):`, `    print("${word}", n, flush=True)`, '    n += 1',
  '    time.sleep(0.2)', 'name = input("Who? ")', `print("${word} is over,", name)`
].join('\n');

async function make(file, data = { type: 'file', format: 'text', content: '' }) {
  const made = await lab.context.request.put(base + 'api/contents/' + file, { headers: { Authorization: `token ${token}` }, data });
  assert.ok(made.ok());
}

/** Waits until the i-th cell shows what was printed from the beginning, and what is printed now. */
async function goesOn(nb, i, word) {
  let seen;
  while (!seen) { // a page that joins makes its outputs anew
    await nb.shows(i, new RegExp(`${word} 0\n`));
    seen = /(\d+)\s*$/.exec(await nb.cell(i).locator('.jp-OutputArea').first().innerText());
  }
  await nb.shows(i, new RegExp(`${word} ${Number(seen[1]) + 5}\n`));
}

async function answer(on, name) {
  await on.locator('.jp-Stdin-input').fill(name);
  await on.keyboard.press('Enter');
}

/** Opens a notebook in another tab. */
async function beside(notebook) {
  const tab = await lab.tab();
  await lab.goto('lab/workspaces/beside/tree/' + notebook, tab);
  return tab;
}

/** The answer when a tab saves its workspace, with text in it. */
const workspaceSaved = (tab, text) => tab.waitForResponse(r => r.request().method() === 'PUT'
  && /\/lab\/api\/workspaces\//.test(r.url()) && r.request().postData().includes(text));

/** JupyterLab alone adds a launcher when it has saved the workspace, which it cannot here. */
async function opensAtOnce() {
  await make('work', { type: 'directory' });
  await make('work/inside.txt');
  const tab = await lab.tab();
  let release;
  const held = new Promise(resolve => { release = resolve; });
  await tab.route('**/lab/api/workspaces/*', async r => {
    if (r.request().method() === 'PUT') { await held; }
    await r.continue();
  });
  await lab.goto('lab/workspaces/opening', tab);
  await tab.locator('.jp-LauncherCard').first().waitFor();
  await tab.locator('.jp-DirListing-item', { hasText: 'work' }).dblclick();
  await tab.locator('.jp-DirListing-item', { hasText: 'inside.txt' }).waitFor();
  const saved = workspaceSaved(tab, '"work"');
  release();
  assert.ok((await saved).ok());
  await tab.waitForFunction(() => !document.querySelector('.jp-mod-restoring'));
  assert.equal(await tab.locator('.jp-Launcher').count(), 1);
  // The same workspace again: the launcher is for the folder in which the file browser was left.
  await tab.unrouteAll({ behavior: 'wait' });
  await lab.goto('lab/workspaces/opening', tab);
  await tab.locator('.jp-Launcher-cwd', { hasText: 'work' }).waitFor();
  // A page that opens a file has no launcher.
  const restored = workspaceSaved(tab, 'reading');
  await lab.goto('lab/workspaces/reading/tree/work/inside.txt', tab);
  await tab.locator('.jp-FileEditor').waitFor();
  await restored;
  assert.equal(await tab.locator('.jp-Launcher').count(), 0);
  await tab.close();
}

async function reloaded() {
  await lab.goto();
  await page.locator('.jp-LauncherCard[data-category="Notebook"]', { hasText: 'Python 3' }).first().click();
  let nb = lab.book();
  await nb.idle();
  await lab.menu('File', 'Rename Notebook');
  await page.locator('.jp-Dialog input').fill('live.ipynb');
  await lab.dialog('Rename');
  await nb.start(0, counting('tick', 'enough'));
  await nb.shows(0, /tick 3\n/);
  await nb.start(1, '"the next cell"');
  await save();

  await page.reload();
  await lab.ready();
  nb = lab.book();
  await goesOn(nb, 0, 'tick');
  await lab.shot('live');
  const tab = await beside('live.ipynb');
  await goesOn(lab.book(tab), 0, 'tick');
  await goesOn(nb, 0, 'tick'); // the other tab has taken nothing away
  await make('enough');
  await answer(page, 'Ada');
  for (const book of [nb, lab.book(tab)]) {
    await book.shows(0, /tick is over, Ada/);
    await book.ran(0);
    await book.shows(1, /the next cell/); // it was queued
    await book.ran(1);
    assert.equal(await book.output(1).count(), 1);
    assert.equal((await book.output(0).allInnerTexts()).join('').match(/tick 0\n/g).length, 1, 'nothing comes twice');
  }
  await tab.close();

  await save();
  const book = await (await page.request.get(base + 'api/contents/live.ipynb')).json();
  assert.match(JSON.stringify(book.content.cells[0].outputs), /tick is over, Ada/);
}

/** The page that a cell runs for is closed; the one beside it, which only watched, answers then. */
async function leftAlone() {
  const cell = { cell_type: 'code', metadata: {}, source: counting('beat', 'again'), execution_count: null, outputs: [], id: 'beats' };
  const content = { cells: [cell], metadata: { kernelspec: { name: 'python3', display_name: 'Python 3' } }, nbformat: 4, nbformat_minor: 5 };
  await make('alone.ipynb', { type: 'notebook', format: 'json', content });
  await lab.goto('lab/workspaces/alone/tree/alone.ipynb');
  await lab.book().idle();
  await lab.book().cell(0).locator('.cm-content').click();
  await lab.book().start(0);
  await lab.book().shows(0, /beat 3\n/);
  const tab = await beside('alone.ipynb');
  const nb = lab.book(tab);
  await goesOn(nb, 0, 'beat');
  await page.close();
  await goesOn(nb, 0, 'beat');
  await make('again');
  await answer(tab, 'Grace');
  await nb.shows(0, /beat is over, Grace/);
  await nb.ran(0);
  assert.equal((await nb.output(0).allInnerTexts()).join('').match(/beat 0\n/g).length, 1, 'nothing comes twice');
  await lab.shot('live-beside', tab);
}

let failed = false;
try {
  await opensAtOnce();
  await reloaded();
  await leftAlone();
  console.log('ok');
} catch (e) {
  failed = true;
  console.error('failed', e);
  for (const [i, p] of lab.context.pages().entries()) { await lab.shot(`failed-${i}`, p); }
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
