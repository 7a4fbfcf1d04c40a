// The broker under test. It can be ended and started again on its port, with its data.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { within } from './wait.mjs';

const BINARY = process.env.NEWAGE_BIN ?? fileURLToPath(new URL('../../../target/debug/newage-broker', import.meta.url));

/** Runs the program with `args`, to its end. */
export const newage = (...args) => promisify(execFile)(BINARY, args);

export class Broker {
  /** `clients` are those who may connect; `settings` goes into server_settings.json, `config` into config.toml. */
  static async start({ clients, settings = {}, config = '' }) {
    if (!existsSync(BINARY)) throw new Error(`no broker at ${BINARY}: build it first, or set NEWAGE_BIN`);
    const data = await mkdtemp(join(tmpdir(), 'newage-broker-'));
    const write = (name, value) => writeFile(join(data, 'settings', name), JSON.stringify(value));
    await mkdir(join(data, 'settings'));
    await write('server_settings.json', { networkSafe: true, ...settings });
    await writeFile(join(data, 'config.toml'), config);
    for (const clientId of clients) await write(`${clientId}.json`, { clientId, isTrust: true });
    const broker = new Broker(data);
    await broker.up();
    return broker;
  }

  constructor(data) {
    this.data = data;
    this.port = 0;
    this.log = [];
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async trust(clientId) {
    await writeFile(join(this.data, 'settings', `${clientId}.json`), JSON.stringify({ clientId, isTrust: true }));
  }

  async up() {
    this.child = spawn(BINARY, ['--data', this.data, '--bind', '127.0.0.1', '--port', String(this.port)], {
      cwd: this.data,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.ended = once(this.child, 'close');
    let announce;
    const listening = new Promise((resolve) => (announce = resolve));
    for (const output of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: output }).on('line', (line) => {
        this.log.push(line);
        const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (found) announce(Number(found[1]));
      });
    }
    this.port = await within(listening, () => `the broker listening; it said:\n${this.log.slice(-20).join('\n')}`);
  }

  /** Ends the process at once, as a crash does. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    this.child.kill('SIGTERM');
    await within(this.ended, 'the broker ending on SIGTERM');
    await rm(this.data, { recursive: true, force: true });
  }
}
