// Starts the broker under test on a free port, with a data directory of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

const BINARY = process.env.NEWAGE_BIN ?? fileURLToPath(new URL('../../../target/debug/newage-broker', import.meta.url));

// A log line that no test may cause by accident: a panic, or one of level error.
const ALARM = /panicked at|\[error\]|^\S*\s?ERROR\b|\dZ ERROR\b/;

/** Trust files of spec §2.2, one per client that the tests play. */
const CLIENTS = [
  { clientId: 'SillyTavern-8000', isTrust: true, Remember_me: true },
  { clientId: 'SillyTavern-8001', isTrust: true, Remember_me: false },
  { clientId: 'monitor', isTrust: true },
  { clientId: 'frontendExample', isTrust: true },
  { clientId: 'client-a', isTrust: true },
  { clientId: 'client-b', isTrust: true },
  { clientId: 'python', isTrust: true },
  { clientId: 'distrusted', isTrust: false },
];

/**
 * A running broker.
 *
 * `settings` goes into server_settings.json, `config` is the text of config.toml, `clients` are more
 * trust files, `expected` are patterns of log lines that would otherwise fail the test.
 */
export async function startBroker({ settings = {}, config = '', clients = [], expected = [], demo = false } = {}) {
  if (!existsSync(BINARY)) throw new Error(`no broker at ${BINARY}: build it first, or set NEWAGE_BIN`);
  const data = await mkdtemp(join(tmpdir(), 'newage-clients-'));
  const json = (file, value) => writeFile(join(data, 'settings', file), `${JSON.stringify(value, null, 2)}\n`);
  await mkdir(join(data, 'settings'));
  await json('server_settings.json', { networkSafe: true, ...settings });
  for (const client of [...CLIENTS, ...clients]) await json(`${client.clientId}-settings.json`, client);
  const configFile = join(data, 'config.toml');
  await writeFile(configFile, `${config}\n[demo]\nenabled = ${demo}\n`);

  const child = spawn(BINARY, ['--config', configFile, '--data', data, '--bind', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: data,
  });
  const log = [];
  let announce;
  const listening = new Promise((resolve) => {
    announce = resolve;
  });
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on('line', (line) => {
      log.push(line);
      const found = /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(line);
      if (found) announce(found[1]);
    });
  }
  const ended = once(child, 'close');
  const tail = () => log.slice(-30).join('\n');
  const died = ended.then(([code, signal]) => {
    throw new Error(`the broker ended by itself (${code ?? signal}):\n${tail()}`);
  });
  died.catch(() => {});

  let url;
  try {
    url = await within(Promise.race([listening, died]), () => `the broker listening; it said:\n${tail()}`);
  } catch (error) {
    child.kill('SIGKILL');
    await rm(data, { recursive: true, force: true });
    throw error;
  }

  return {
    url,
    data,
    log,
    pid: child.pid,
    get running() {
      return child.exitCode === null && child.signalCode === null;
    },
    /** Ends the broker, and fails if it had died, does not end, or complained in its log. */
    async stop() {
      const alive = child.exitCode === null && child.signalCode === null;
      child.kill('SIGTERM');
      try {
        await within(ended, 'the broker ending on SIGTERM');
      } finally {
        child.kill('SIGKILL');
        await rm(data, { recursive: true, force: true });
      }
      if (!alive) throw new Error(`the broker had ended by itself:\n${tail()}`);
      const alarms = log.filter((line) => ALARM.test(line) && !expected.some((pattern) => pattern.test(line)));
      if (alarms.length > 0) throw new Error(`the broker complained:\n${alarms.join('\n')}`);
    },
  };
}
