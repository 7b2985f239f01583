// A page that is reloaded while its cells run: node live.mjs URL TOKEN [SHOTS]
// What they print goes on appearing, and what they ask for can be typed.
import assert from 'node:assert/strict';
import { Lab } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const lab = await Lab.open(base, token, shots);
const { page } = lab;

async function save() {
  await lab.book().cell(2).locator('.cm-content').click(); // where the keyboard means the notebook
  const saved = page.waitForResponse(r => r.request().method() === 'PUT' && r.url().includes('api/contents/live.ipynb'));
  await page.keyboard.press('Control+s');
  assert.ok((await saved).ok());
}

let failed = false;
try {
  await lab.goto();
  await page.locator('.jp-LauncherCard[data-category="Notebook"]', { hasText: 'Python 3' }).first().click();
  let nb = lab.book();
  await nb.idle();
  await lab.menu('File', 'Rename Notebook');
  await page.locator('.jp-Dialog input').fill('live.ipynb');
  await lab.dialog('Rename');
  await nb.start(0, [
    'import os, time', 'n = 0', 'while not os.path.exists("enough"):', '    print("tick", n, flush=True)', '    n += 1',
    '    time.sleep(0.02)', 'name = input("Who? ")', 'print("hello", name)'
  ].join('\n'));
  await nb.shows(0, /tick 3\n/);
  await nb.start(1, '"the next cell"');
  await save();

  await page.reload();
  await lab.ready();
  nb = lab.book();
  await nb.shows(0, /tick 0\n/); // from the beginning
  const seen = Number(/tick (\d+)\n*$/.exec((await nb.output(0).first().innerText()).trimEnd())[1]);
  await nb.shows(0, new RegExp(`tick ${seen + 20}\n`)); // and it goes on
  await lab.shot('live');
  const made = await page.request.put(base + 'api/contents/enough', {
    headers: { Authorization: `token ${token}` }, data: { type: 'file', format: 'text', content: '' }
  });
  assert.ok(made.ok());
  await page.locator('.jp-Stdin-input').fill('Ada');
  await page.keyboard.press('Enter');
  await nb.shows(0, /hello Ada/);
  await nb.ran(0);
  await nb.shows(1, /the next cell/); // it was queued
  await nb.ran(1);
  assert.equal(await nb.output(1).count(), 1);
  assert.equal((await nb.output(0).allInnerTexts()).join('').match(/tick 0\n/g).length, 1, 'nothing comes twice');

  await save();
  const book = await (await page.request.get(base + 'api/contents/live.ipynb')).json();
  assert.match(JSON.stringify(book.content.cells[0].outputs), /hello Ada/);
  console.log('ok');
} catch (e) {
  failed = true;
  console.error('failed', e);
  await lab.shot('failed');
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
process.exit(failed || lab.errors.length ? 1 : 0);
