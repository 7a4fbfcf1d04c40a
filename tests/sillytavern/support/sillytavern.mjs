// A real SillyTavern, as npm installs it, with a data folder of its own and our model behind it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

export const NEWEST = 'sillytavern-newest';
export const OLDEST = 'sillytavern-oldest';

export const folderOf = (alias) => fileURLToPath(new URL(`../node_modules/${alias}/`, import.meta.url));

export async function versionOf(alias) {
  return JSON.parse(await readFile(join(folderOf(alias), 'package.json'), 'utf8')).version;
}

/** A data folder whose user has done with the first run, and uses the model at `upstream`. */
export async function makeData(alias, upstream) {
  const data = await mkdtemp(join(tmpdir(), 'newage-sillytavern-'));
  const settings = JSON.parse(await readFile(join(folderOf(alias), 'default/content/settings.json'), 'utf8'));
  Object.assign(settings, { firstRun: false, main_api: 'openai', username: 'Tester' });
  Object.assign(settings.power_user, { auto_connect: true, auto_save_msg_edits: true });
  Object.assign(settings.oai_settings, {
    chat_completion_source: 'custom',
    custom_url: upstream.url,
    custom_model: 'test-model',
    stream_openai: true,
  });
  await mkdir(join(data, 'default-user'), { recursive: true });
  await writeFile(join(data, 'default-user', 'settings.json'), JSON.stringify(settings));
  return data;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export async function startSillyTavern(alias, data) {
  const port = await freePort();
  const flag = (await versionOf(alias)).startsWith('1.12.') ? ['--autorun', 'false'] : ['--browserLaunchEnabled', 'false'];
  const args = ['server.js', '--port', String(port), '--dataRoot', data, '--configPath', join(data, 'config.yaml'), ...flag];
  const child = spawn(process.execPath, args, { cwd: folderOf(alias), stdio: ['ignore', 'pipe', 'pipe'] });
  const log = [];
  let announce;
  const listening = new Promise((resolve) => (announce = resolve));
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on('line', (line) => {
      log.push(line);
      if (/is listening on|Go to: http/.test(line)) announce();
    });
  }
  const ended = once(child, 'close');
  const tail = () => log.slice(-30).join('\n');
  const died = ended.then(([code, signal]) => {
    throw new Error(`SillyTavern ended by itself (${code ?? signal}):\n${tail()}`);
  });
  died.catch(() => {});
  // It compiles its libraries first.
  await within(Promise.race([listening, died]), () => `SillyTavern listening; it said:\n${tail()}`, 120_000);
  return {
    port,
    log,
    url: `http://127.0.0.1:${port}`,
    clientId: `SillyTavern-${port}`,
    /** The page saves a moment after each change; until then a reload brings back what was before. */
    async hasSaved(api) {
      const settings = join(data, 'default-user', 'settings.json');
      const saved = async () => {
        // It may be in the middle of being written.
        const text = await readFile(settings, 'utf8');
        try {
          return JSON.parse(text).main_api === api;
        } catch {
          return false;
        }
      };
      const poll = async () => {
        while (!(await saved())) await delay(50);
      };
      await within(poll(), () => `SillyTavern saved ${api}`, 30_000);
    },
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
      await rm(data, { recursive: true, force: true });
    },
  };
}
