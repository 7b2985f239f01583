// Draws the .ico of each .svg beside it, in the sizes that tabs have: node favicons.mjs FOLDER
// JupyterLab changes the page's icon whenever a kernel begins or ends to work. For a picture of vectors Chromium lays out
// a document each time, in the page's own thread; of pixels it only copies them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { switches } from './lab.mjs';

const [folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.NBSERV_TEST_CHROMIUM || '/usr/bin/chromium', args: switches });

async function draw(svg, size) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(`<style>html, body { margin: 0; background: transparent } svg { display: block; width: ${size}px; height: ${size}px }</style>${svg}`);
  const png = await page.screenshot({ omitBackground: true });
  await page.close();
  return { size, png };
}

/** An icon file: a directory of 16 bytes an image, then the images, as PNG. */
function ico(images) {
  const head = Buffer.alloc(6 + 16 * images.length);
  head.writeUInt16LE(1, 2); // an icon, not a cursor
  head.writeUInt16LE(images.length, 4);
  let offset = head.length;
  images.forEach(({ size, png }, i) => {
    const at = 6 + 16 * i;
    head.writeUInt8(size, at);
    head.writeUInt8(size, at + 1);
    head.writeUInt16LE(1, at + 4); // planes
    head.writeUInt16LE(32, at + 6); // bits a pixel
    head.writeUInt32LE(png.length, at + 8);
    head.writeUInt32LE(offset, at + 12);
    offset += png.length;
  });
  return Buffer.concat([head, ...images.map(i => i.png)]);
}

for (const file of readdirSync(folder).filter(f => f.endsWith('.svg'))) {
  const svg = readFileSync(join(folder, file), 'utf8');
  writeFileSync(join(folder, file.replace(/svg$/, 'ico')), ico([await draw(svg, 16), await draw(svg, 32)]));
}
await browser.close();
