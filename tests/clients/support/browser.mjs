// Headless Chromium, as Debian ships it.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { missing } from './need.mjs';

const PATH = process.env.NEWAGE_CHROMIUM ?? '/usr/bin/chromium';

export const noBrowser = () => missing(`Chromium (${PATH})`, existsSync(PATH));

export function launch() {
  return chromium.launch({
    executablePath: PATH,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page that remembers everything that a reader of its console would call an error. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`exception: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
  });
  return { context, page, complaints };
}
