// A browser on JupyterLab, and what a user does there.
import { chromium } from 'playwright-core';

/** Bounds every wait, in milliseconds: only what fails waits so long, on a machine however slow. */
export const patience = 120_000;

/** Chromium's own, for one that runs as root and asks nobody outside. */
export const switches = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/**
 * What JupyterLab 4.6 says in the console by itself: the same lines come when `jupyter lab` serves it. It asks for a file
 * by the name that it had before a rename, searches in cells that are out of sight, and shows widgets of a kernel that
 * was restarted.
 */
const itsOwn = [
  /404 \(Not Found\) .*Untitled\.ipynb/, /"(work\/)?Untitled\.ipynb" does not exist/, /Cannot read properties of null \(reading 'observe'\)/,
  /widget model not found/, /Comm not found for comm id/,
];

export class Lab {
  /** Opens a browser; close() ends it. */
  static async open(base, token, shots) {
    const browser = await chromium.launch({
      executablePath: process.env.NBSERV_TEST_CHROMIUM || '/usr/bin/chromium',
      args: switches
    });
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true });
    context.setDefaultTimeout(patience);
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(base).origin });
    const lab = new Lab(browser, context, base, token, shots);
    context.on('page', page => lab.watch(page));
    lab.page = await lab.tab();
    return lab;
  }

  constructor(browser, context, base, token, shots) {
    Object.assign(this, { browser, context, base, token, shots, errors: [], expected: [] });
  }

  async close() { await this.browser.close(); }

  /** Opens another tab. */
  tab() { return this.context.newPage(); }

  /** Notes what a tab's console shows, whoever has opened the tab. */
  watch(page) {
    page.on('console', m => { if (m.type() === 'error') { this.note(`${m.text()} (${m.location().url})`); } });
    page.on('pageerror', e => this.note(`${e.stack || e} (${page.url()})`));
  }

  note(text) {
    if (![...itsOwn, ...this.expected].some(p => p.test(text))) { this.errors.push(text); }
  }

  async goto(path = 'lab', page = this.page) {
    await page.goto(this.base + path + (path.includes('?') ? '&' : '?') + 'token=' + this.token);
    await this.ready(page);
  }

  /** Waits until the splash has gone and the shell is there. */
  async ready(page = this.page) {
    await page.waitForSelector('#jupyterlab-splash', { state: 'detached' });
    await page.waitForSelector('#jp-main-dock-panel .lm-Widget, #main-panel .lm-Widget', { state: 'attached' }); // a Notebook's is the latter
  }

  /** Waits for the answer to a request that act leads to. */
  async asked(method, path, act) {
    const answer = this.page.waitForResponse(r => r.request().method() === method && path.test(new URL(r.url()).pathname));
    await act();
    return answer;
  }

  async shot(name, page = this.page) {
    if (this.shots) { await page.screenshot({ path: `${this.shots}/${name}.png` }); }
  }

  /** Runs a command by its label in the command palette. */
  async command(label, page = this.page) {
    await page.keyboard.press('Control+Shift+C');
    const input = page.locator('.lm-CommandPalette-input:visible');
    await input.fill(label);
    await page.locator('.lm-CommandPalette-item:visible', { hasText: label }).first().click();
    await page.waitForSelector('#modal-command-palette', { state: 'hidden' });
  }

  /** Chooses an item of the menu bar; more than two names lead through submenus. */
  async menu(...names) {
    await this.page.locator('.lm-MenuBar-item', { hasText: names[0] }).click();
    for (const name of names.slice(1, -1)) {
      await this.page.locator('.lm-Menu-item:visible', { hasText: name }).first().hover();
    }
    await this.page.locator('.lm-Menu-item:visible', { hasText: names.at(-1) }).first().click();
  }

  async dialog(button, page = this.page) {
    await page.locator('.jp-Dialog .jp-Dialog-button', { hasText: button }).click();
    await page.waitForSelector('.jp-Dialog', { state: 'detached' });
  }

  /** The notebook in front. */
  book(page = this.page) { return new Notebook(page); }
}

export class Notebook {
  constructor(page) {
    this.page = page;
    this.panel = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)').first();
  }

  /** Waits until the notebook has a kernel that does nothing. What is run before it has one, JupyterLab drops. */
  async idle() {
    await this.page.locator('#jp-main-statusbar', { hasText: /\| Idle/ }).waitFor();
    await this.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').waitFor();
  }

  /** The i-th cell: those out of sight may not be in the page. */
  cell(i) { return this.panel.locator(`.jp-Notebook .jp-Cell[data-windowed-list-index="${i}"]`); }

  output(i) { return this.cell(i).locator('.jp-OutputArea-output'); }

  /** Puts code into the i-th cell. */
  async write(i, code) {
    await this.cell(i).locator('.cm-content').click();
    await this.page.keyboard.press('Control+A');
    await this.page.keyboard.insertText(code);
  }

  /** Runs the i-th cell and goes to the next. */
  async start(i, code) {
    if (code !== undefined) { await this.write(i, code); }
    await this.page.keyboard.press('Shift+Enter');
  }

  /** Runs the i-th cell and waits until it has its number. */
  async run(i, code) {
    await this.start(i, code);
    await this.ran(i);
  }

  /** Waits until the i-th cell shows text among its outputs. */
  async shows(i, text) { await this.cell(i).locator('.jp-OutputArea', { hasText: text }).first().waitFor(); }

  async ran(i) {
    await this.cell(i).locator('.jp-InputPrompt', { hasText: /\[\d+\]/ }).waitFor();
  }
}
