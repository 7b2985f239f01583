// The server's own pages, as people meet them: node pages.mjs URL TOKEN [SHOTS]
// The server must be without a JupyterLab. In light and dark, on a desk and on a phone: what is on them can be read and
// reached by the keyboard, they load nothing from elsewhere, and say what to do next.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { patience, switches } from './lab.mjs';

const [base, token, shots] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.NBSERV_TEST_CHROMIUM || '/usr/bin/chromium', args: switches });

/** What is wrong with the page, measured in it: WCAG 2.2, levels A and AA. */
function faults() {
  const found = [];
  const rgb = color => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [x, y] = [light(rgb(a)), light(rgb(b))];
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (rgb(color)[3] !== 0) { return color; }
    }
    return 'rgb(255, 255, 255)';
  };
  const shown = e => e.checkVisibility() && e.getClientRects().length > 0;
  for (const e of [...document.body.querySelectorAll('*')].filter(shown)) {
    const style = getComputedStyle(e);
    if ([...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()) && contrast(style.color, behind(e)) < 4.5) {
      found.push(`the text ${e.textContent.trim().slice(0, 40)} cannot be told from what is behind it`);
    }
    if (e.matches('input') && contrast(style.borderTopColor, behind(e.parentElement)) < 3) { found.push(`nobody sees the field ${e.name}`); }
    if (e.matches('input') && !e.labels.length) { found.push(`the field ${e.name} has no label`); }
    if (e.matches('a, button, summary') && !e.textContent.trim()) { found.push('what can be chosen has no name'); }
  }
  if (document.querySelectorAll('h1').length !== 1) { found.push('there should be one heading'); }
  if (!document.querySelector('main')) { found.push('there is no main part'); }
  if (document.documentElement.lang !== 'en' || !document.title.includes('nbserv')) { found.push('the page does not say what it is'); }
  if (document.documentElement.scrollWidth > innerWidth) { found.push(`it is ${document.documentElement.scrollWidth} wide, the screen ${innerWidth}`); }
  return found;
}

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1000, 320]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 760 } });
    context.setDefaultTimeout(patience);
    const page = await context.newPage();
    const problems = [];
    page.on('pageerror', e => problems.push(String(e)));
    page.on('request', r => { if (!r.url().startsWith(base)) { problems.push('it asks for ' + r.url()); } });

    /** Looks at the page that is there; next is what it offers to do. */
    const look = async (name, next) => {
      if (shots) { await page.screenshot({ path: `${shots}/${name}-${colorScheme}-${width}.png`, fullPage: true }); }
      assert.deepEqual([...problems, ...await page.evaluate(faults)], [], `${name}, ${colorScheme}, ${width}`);
      await next.waitFor();
    };
    const link = name => page.getByRole('link', { name });
    const back = colorScheme === 'light' ? 'rgb(246, 248, 250)' : 'rgb(13, 17, 23)';

    await page.goto(base + 'lab?x=1');
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), back);
    await look('login', page.getByText('Where is the token?'));
    await page.keyboard.type('not this one'); // the field has the focus
    await page.keyboard.press('Enter');
    await page.getByRole('alert').waitFor();
    await look('login-again', page.getByRole('button', { name: 'Log in' }));
    await page.keyboard.type(token);
    await page.keyboard.press('Enter');
    await page.waitForURL(base + 'lab?x=1'); // where the user wanted to go
    await look('missing', page.getByText('nbserv lab install'));
    await page.keyboard.press('Tab');
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none', 'the focus is seen');

    await page.goto(base + 'tree/none');
    await look('error', link('Back to the start'));
    assert.match(await page.getByRole('alert').evaluate(e => getComputedStyle(e, '::first-letter').textTransform), /uppercase/);
    await page.goto(base);
    await look('start', link('How to install it'));
    await page.goto(base + 'logout');
    await look('logout', link('Log in again'));
    await context.close();
  }
}
await browser.close();
