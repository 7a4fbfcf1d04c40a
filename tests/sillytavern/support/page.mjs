// SillyTavern in headless Chromium, as a user sees it.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const PATH = process.env.NEWAGE_CHROMIUM ?? '/usr/bin/chromium';

export function launch() {
  if (!existsSync(PATH)) throw new Error(`no Chromium at ${PATH}: install it, or set NEWAGE_CHROMIUM`);
  return chromium.launch({
    executablePath: PATH,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** Opens SillyTavern, and waits until it is ready and connected to its model. */
export async function openTavern(context, tavern) {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(error.stack ?? error.message));
  await page.goto(tavern.url);
  await ready(page);
  return page;
}

export async function ready(page) {
  await page.waitForFunction(() => document.querySelector('#newage-broker') !== null, null, { timeout: 60_000 });
  await page.waitForFunction(() => window.SillyTavern.getContext().onlineStatus !== 'no_connection', null, { timeout: 60_000 });
}

/** The panel's parts, by the names that the extension gave them. */
export const part = (page, name) => page.locator(`#newage-broker [data-newage="${name}"]`);

/** Opens the drawer of extensions, and in it the panel. */
export async function openPanel(page) {
  const toggle = page.locator('#newage-broker .inline-drawer-toggle');
  const shown = (locator, timeout) => locator.waitFor({ timeout }).then(() => true, () => false);
  // Drawers slide; a click in the middle of that may be lost.
  for (let attempt = 0; attempt < 5 && !(await part(page, 'connect').isVisible()); attempt += 1) {
    if (!(await toggle.isVisible())) {
      await page.locator('#extensions-settings-button .drawer-toggle').click();
      if (!(await shown(toggle, 3_000))) continue;
    }
    if (await shown(part(page, 'connect'), 300)) break;
    await toggle.click();
    await shown(part(page, 'connect'), 3_000);
  }
  await part(page, 'connect').waitFor();
}

export async function stateIs(page, wanted, timeout = 15_000) {
  await page.waitForFunction(
    (name) => document.querySelector('#newage-broker')?.dataset.state === name,
    wanted,
    { timeout },
  );
}

/** Connects as a user does. */
export async function connect(page, url) {
  await openPanel(page);
  await part(page, 'url').fill(url);
  await part(page, 'url').press('Tab');
  if ((await page.locator('#newage-broker').getAttribute('data-state')) === 'off') await part(page, 'connect').click();
  await stateIs(page, 'online');
}

export const openSeraphina = (page) =>
  page.evaluate(async () => {
    const { characters, selectCharacterById } = window.SillyTavern.getContext();
    await selectCharacterById(characters.findIndex(({ name }) => name === 'Seraphina'));
  });

/** Opens a new group of these characters, who answer in this order; whoever does not exist is made. */
export const openGroup = (page, names) =>
  page.evaluate(async (wanted) => {
    const { characters, getCharacters, getRequestHeaders, executeSlashCommandsWithOptions } = window.SillyTavern.getContext();
    const headers = getRequestHeaders();
    const avatarOf = async (name) => {
      const found = characters.find((character) => character.name === name);
      if (found) return found.avatar;
      const body = new FormData();
      body.append('ch_name', name);
      const { 'Content-Type': _, ...rest } = headers;
      return (await fetch('/api/characters/create', { method: 'POST', headers: rest, body })).text();
    };
    const members = [];
    for (const name of wanted) members.push(await avatarOf(name));
    // 1: as they are listed.
    const group = { name: 'Everybody', members, activation_strategy: 1, avatar_url: 'img/ai4.png', chat_id: 'everybody', chats: ['everybody'] };
    await fetch('/api/groups/create', { method: 'POST', headers, body: JSON.stringify(group) });
    await getCharacters();
    await executeSlashCommandsWithOptions('/go Everybody');
  }, names);

export const chat = (page) =>
  page.evaluate(() => window.SillyTavern.getContext().chat.map(({ name, is_user, is_system, mes }) => ({ name, is_user, is_system, mes })));

/** SillyTavern's own switch. */
export const stream = (page, on) =>
  page.evaluate((value) => {
    window.SillyTavern.getContext().chatCompletionSettings.stream_openai = value;
  }, on);
