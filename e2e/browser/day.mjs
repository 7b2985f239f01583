// A day's work in JupyterLab: node day.mjs URL TOKEN [SHOTS]
// The server must serve JupyterLab, have a python3 kernel with ipywidgets and matplotlib, and an empty root folder.
// With DAY=notebook it is the notebook's part alone, for a `jupyter lab` whose kernels are nbserv's.
// Prints one line for each part, and ends with 1 at the first that fails or when the console has shown an error.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lab, patience } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), 'nbserv-day-'));
const lab = await Lab.open(base, token, shots);
const { page } = lab;

/** Asks the server, with the page's own login. */
async function api(path) {
  const res = await page.request.get(base + path);
  assert.equal(res.status(), 200, path);
  return res.json();
}

async function eventually(what, test) {
  const end = Date.now() + patience;
  for (;;) {
    if (await test()) { return; }
    if (Date.now() > end) { throw new Error('waited in vain: ' + what); }
    await page.waitForTimeout(20);
  }
}

/** JupyterLab drops completions that take more than a second; on a slow machine they do. */
async function patientCompleter() {
  const set = await page.request.put(base + 'lab/api/settings/@jupyterlab/completer-extension:manager', {
    headers: { Authorization: `token ${token}` }, data: { raw: JSON.stringify({ providerTimeout: patience }) }
  });
  assert.equal(set.status(), 204);
}

const parts = {};

parts['launcher and a new notebook'] = async () => {
  await patientCompleter();
  await lab.goto();
  await page.locator('.jp-LauncherCard').first().waitFor();
  await lab.shot('launcher');
  await page.locator('.jp-LauncherCard[data-category="Notebook"]', { hasText: 'Python 3' }).first().click();
  await lab.book().idle();
};

parts['run, plot, error'] = async () => {
  const nb = lab.book();
  await nb.run(0, 'print(6 * 7)');
  await nb.shows(0, '42');
  await nb.run(1, '%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);');
  await nb.output(1).locator('img').waitFor();
  await nb.run(2, '1 / 0');
  await nb.shows(2, /ZeroDivisionError: division by zero/);
};

parts['input and getpass'] = async () => {
  const nb = lab.book();
  await nb.start(3, 'name = input("Your name? ")\nprint("Hello", name)');
  await page.locator('.jp-Stdin-input').fill('Ada');
  await page.keyboard.press('Enter');
  await nb.ran(3);
  await nb.shows(3, /Hello Ada/);
  await nb.start(4, 'import getpass\nlen(getpass.getpass("Secret: "))');
  await page.locator('.jp-Stdin-input[type="password"]').fill('12345');
  await page.keyboard.press('Enter');
  await nb.ran(4);
  await nb.cell(4).locator('.jp-OutputArea-executeResult', { hasText: '5' }).waitFor();
};

parts['a widget that is moved'] = async () => {
  const nb = lab.book();
  await nb.run(5, [
    'import ipywidgets as widgets', 'slider = widgets.IntSlider(value=3, max=10)', 'shown = widgets.Label()',
    'slider.observe(lambda change: setattr(shown, "value", f"the kernel has {change.new}"), "value")', 'widgets.VBox([slider, shown])'
  ].join('\n'));
  const handle = nb.cell(5).locator('.noUi-handle');
  await handle.waitFor();
  await handle.focus();
  await page.keyboard.press('ArrowRight');
  await nb.cell(5).getByText('the kernel has 4').waitFor();
  await lab.shot('widget');
};

parts['progress, many outputs, HTML'] = async () => {
  const nb = lab.book();
  await nb.run(6, 'import sys\nfor i in range(101):\n    print(f"\\r{i} %", end="")');
  await nb.shows(6, /100 %/);
  await nb.run(7, 'from IPython.display import HTML\nHTML("<b id=\'bold\'>bold</b>")');
  await nb.cell(7).locator('#bold').waitFor();
};

parts['interrupt and restart'] = async () => {
  const nb = lab.book();
  await nb.start(8, 'import time\nprint("asleep", flush=True)\ntime.sleep(1000)');
  await nb.shows(8, /asleep/);
  await nb.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').waitFor();
  await nb.panel.locator('jp-button[data-command="notebook:interrupt-kernel"]').click();
  await nb.ran(8);
  await nb.shows(8, /KeyboardInterrupt/);
  await nb.panel.locator('jp-button[data-command="notebook:restart-kernel"]').click();
  await lab.asked('POST', /\/restart$/, () => lab.dialog('Restart'));
  await nb.idle();
  await nb.run(9, 'name');
  await nb.shows(9, /NameError/);
};

parts['complete and inspect'] = async () => {
  const nb = lab.book();
  await nb.run(10, 'import collections');
  await nb.cell(11).locator('.cm-content').click();
  await page.keyboard.type('collections.Ordered');
  await page.keyboard.press('Tab');
  await eventually('the completion', async () => /OrderedDict/.test(await nb.cell(11).locator('.cm-content').innerText())
    || await page.locator('.jp-Completer-item', { hasText: 'OrderedDict' }).isVisible());
  if (await page.locator('.jp-Completer').isVisible()) { await page.keyboard.press('Enter'); }
  await page.keyboard.press('Shift+Tab');
  await page.locator('.jp-Tooltip', { hasText: /insertion order|Dictionary/ }).waitFor();
  await page.keyboard.press('Escape');
  await nb.run(11);
};

parts['debug a cell'] = async () => {
  const nb = lab.book();
  await nb.panel.locator('.jp-DebuggerBugButton').click();
  await page.locator('.jp-DebuggerBugButton[aria-pressed="true"], .jp-DebuggerBugButton.jp-mod-on').first().waitFor();
  await nb.write(12, 'first = 20\nsecond = first + 1\nprint(second)');
  await nb.cell(12).locator('.cm-breakpoint-gutter .cm-gutterElement').nth(2).click();
  await page.locator('.jp-DebuggerBreakpoint').waitFor(); // the kernel has it
  await nb.cell(12).locator('.cm-content').click();
  await page.keyboard.press('Shift+Enter');
  await page.locator('.jp-DebuggerCallstack-body', { hasText: /module/ }).waitFor();
  await page.locator('.jp-DebuggerVariables', { hasText: 'first' }).waitFor();
  await lab.shot('debugger');
  await page.locator('[data-command="debugger:continue"]').click();
  await nb.ran(12);
  await nb.shows(12, /21/);
  await nb.panel.locator('.jp-DebuggerBugButton').click();
};

parts['rename and save'] = async () => {
  await lab.menu('File', 'Rename Notebook');
  const field = page.locator('.jp-Dialog input');
  await field.fill('day.ipynb');
  await lab.dialog('Rename');
  await eventually('the new name', async () => (await api('api/contents')).content.some(f => f.name === 'day.ipynb'));
  // Until the page knows it too, it answers a save by asking for a name.
  await page.locator('#jp-main-dock-panel .lm-TabBar-tabLabel', { hasText: 'day.ipynb' }).waitFor();
  await lab.asked('POST', /day\.ipynb\/checkpoints$/, () => page.keyboard.press('Control+s')); // what comes after a save
  assert.ok((await api('api/contents/day.ipynb')).content.cells.length >= 13);
  await eventually('the session has the name', async () => (await api('api/sessions'))[0].path === 'day.ipynb');
};

parts['checkpoint and revert'] = async () => {
  const nb = lab.book();
  await nb.write(10, 'changed = 1');
  await eventually('the change', async () => page.locator('.jp-mod-dirty').first().isVisible());
  await lab.menu('File', 'Revert Notebook to Checkpoint');
  await lab.dialog('Revert');
  await eventually('the old text', async () => /import collections/.test(await nb.cell(10).innerText()));
};

parts['reload'] = async () => {
  await page.reload();
  await lab.ready();
  const nb = lab.book();
  await nb.idle();
  await nb.shows(2, /ZeroDivisionError/);
  await nb.run(10, 'kept = "over the reload"');
  await nb.run(11, 'kept');
  await nb.shows(11, /over the reload/);
};

parts['a second tab sees the same kernel'] = async () => {
  const second = await lab.tab();
  await lab.goto('lab/workspaces/second/tree/day.ipynb', second);
  const nb = lab.book(second);
  await nb.idle();
  await nb.run(12, 'print("from the second tab:", kept)');
  await nb.shows(12, /from the second tab: over the reload/);
  assert.equal((await api('api/kernels')).length, 1);
  await second.close({ runBeforeUnload: false });
  await page.bringToFront();
};

parts['terminal'] = async () => {
  await lab.command('New Terminal');
  await page.locator('.jp-Terminal .xterm-screen').waitFor();
  await page.locator('.jp-Terminal textarea').focus();
  await page.keyboard.type('echo term-$((6*7)) > term.txt\n');
  await eventually('what the terminal wrote', async () => (await api('api/contents')).content.some(f => f.name === 'term.txt'));
  await lab.shot('terminal');
};

parts['console'] = async () => {
  await page.locator('.jp-FileBrowser-toolbar [data-command="launcher:create"]').first().click();
  await page.locator('.jp-LauncherCard[data-category="Console"]', { hasText: 'Python 3' }).first().click();
  const input = page.locator('.jp-CodeConsole-promptCell .cm-content');
  await input.click();
  await page.locator('.jp-CodeConsole .jp-ConsoleBanner, .jp-CodeConsole-banner').first().waitFor();
  await input.click();
  await page.keyboard.insertText('"con" + "sole"');
  await page.keyboard.press('Shift+Enter');
  await page.locator('.jp-CodeConsole-content .jp-OutputArea-output', { hasText: 'console' }).waitFor();
};

parts['upload of 60 MB, download'] = async () => {
  const file = join(scratch, 'large.bin');
  const bytes = Buffer.alloc(60 << 20, 'nbserv, sixty megabytes of it; ');
  writeFileSync(file, bytes);
  const chooser = page.waitForEvent('filechooser');
  await page.locator('.jp-FileBrowser-toolbar [data-command="filebrowser:upload"], .jp-id-upload').first().click();
  await (await chooser).setFiles(file);
  const asked = page.locator('.jp-Dialog .jp-Dialog-button', { hasText: 'Upload' });
  await asked.click(); // "larger than 15 MB"
  await eventually('the upload', async () => (await api('api/contents')).content.some(f => f.name === 'large.bin' && f.size === bytes.length));
  await page.locator('.jp-DirListing-item', { hasText: 'large.bin' }).click({ button: 'right' });
  const download = page.waitForEvent('download');
  await page.locator('.lm-Menu-item[data-command="filebrowser:download"]').click();
  const path = await (await download).path();
  assert.equal(await digest(path), createHash('sha256').update(bytes).digest('hex'));
};

async function digest(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) { hash.update(chunk); }
  return hash.digest('hex');
}

parts['search'] = async () => {
  await page.locator('.lm-TabBar-tab', { hasText: 'day.ipynb' }).click();
  await page.keyboard.press('Control+f');
  await page.locator('.jp-DocumentSearch-input').first().fill('plt');
  await page.locator('.jp-DocumentSearch-index-counter', { hasText: '/' }).waitFor();
  await page.keyboard.press('Escape');
};

parts['theme changed and kept, workspace kept'] = async () => {
  await lab.menu('Settings', /^Theme/, 'JupyterLab Dark');
  await page.waitForSelector('body[data-jp-theme-name="JupyterLab Dark"]', { state: 'attached' });
  await eventually('the setting', async () =>
    (await api('lab/api/settings/@jupyterlab/apputils-extension:themes')).settings.theme === 'JupyterLab Dark');
  await eventually('the workspace', async () => {
    const kept = JSON.stringify(await api('lab/api/workspaces/default'));
    return kept.includes('day.ipynb') && kept.includes('console:');
  });
  await page.reload();
  await lab.ready();
  await page.waitForSelector('body[data-jp-theme-name="JupyterLab Dark"]', { state: 'attached' });
  await page.locator('.lm-TabBar-tab', { hasText: 'day.ipynb' }).waitFor();
  await page.locator('.lm-TabBar-tab', { hasText: 'Console' }).first().waitFor();
  await lab.shot('dark');
};

parts['export as HTML'] = async () => {
  await page.locator('.lm-TabBar-tab', { hasText: 'day.ipynb' }).click();
  const res = await page.request.get(base + 'nbconvert/html/day.ipynb?download=true', { headers: { 'X-XSRFToken': await xsrf() } });
  assert.equal(res.status(), 200);
  assert.match(await res.text(), /ZeroDivisionError/);
};

async function xsrf() {
  return (await lab.context.cookies()).find(c => c.name === '_xsrf')?.value ?? '';
}

parts['a kernel shut down from the Running panel'] = async () => {
  await page.locator('.lm-TabBar-tab[data-id="jp-running-sessions"]').click();
  const kernels = page.locator('.jp-RunningSessions-item.jp-mod-kernel').filter({ hasText: 'day.ipynb' });
  await kernels.first().hover();
  await kernels.first().locator('.jp-RunningSessions-itemShutdown').first().click();
  await eventually('the end of the session', async () => !(await api('api/sessions')).some(s => s.path === 'day.ipynb'));
};

parts['logout and login'] = async () => {
  lab.expected.push(/403|401|WebSocket|Failed to fetch/); // what pages without a login get
  await page.goto(base + 'logout');
  const out = await page.request.get(base + 'api/kernels');
  assert.equal(out.status(), 403);
  await page.goto(base + 'lab');
  await page.locator('input[name="password"]').first().fill(token);
  await lab.shot('login');
  await page.keyboard.press('Enter');
  await lab.ready();
};

let day = Object.entries(parts);
if (process.env.DAY === 'notebook') {
  day = day.slice(0, 1 + Object.keys(parts).indexOf('a second tab sees the same kernel'));
  // jupyter_server's own, where its kernels are a gateway's; its first WebSocket to a page always fails.
  lab.expected.push(/500 .*resolvePath/, /Sent non-empty 'Sec-WebSocket-Protocol' header but no response/);
}
let failed = '';
for (const [name, run] of day) {
  const began = Date.now();
  try {
    await run();
    console.log(`ok ${name} (${Date.now() - began} ms)`);
  } catch (e) {
    failed = name;
    console.error('failed', name, e);
    console.error('dialogs:', await page.locator('.jp-Dialog').allInnerTexts());
    await lab.shot('failed');
    break;
  }
}
for (const e of lab.errors) { console.error('console:', e); }
await lab.close();
rmSync(scratch, { recursive: true });
process.exit(failed || lab.errors.length ? 1 : 0);
