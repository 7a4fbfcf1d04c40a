// Everything that a test needs: model, SillyTavern with the extension, broker, network, page, programs.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Broker, newage } from './broker.mjs';
import { Client } from './client.mjs';
import { chat, launch, openSeraphina, openTavern, stateIs } from './page.mjs';
import { startProxy } from './proxy.mjs';
import { folderOf, makeData, startSillyTavern, versionOf } from './sillytavern.mjs';
import { startUpstream } from './upstream.mjs';

/** Screenshots for people to look at. */
export const SHOTS = fileURLToPath(new URL('../../../.cache/sillytavern-shots/', import.meta.url));

export class World {
  /** `install(data)`: the arguments after `newage-broker extension install`, also for `uninstall`. */
  static async start(alias, install) {
    const world = new World();
    try {
      await mkdir(SHOTS, { recursive: true });
      world.version = await versionOf(alias);
      world.upstream = await startUpstream();
      const data = await makeData(alias, world.upstream);
      world.where = ['--sillytavern', folderOf(alias), ...install(data)];
      world.installed = await newage('extension', 'install', ...world.where);
      world.tavern = await startSillyTavern(alias, data);
      world.broker = await Broker.start({ clients: [world.tavern.clientId, 'app', 'bot'] });
      world.proxy = await startProxy(() => world.broker.port);
      world.browser = await launch();
      world.context = await world.browser.newContext({ viewport: { width: 1280, height: 1000 }, locale: 'en-US' });
      await world.context.grantPermissions(['clipboard-read', 'clipboard-write']);
      world.page = await openTavern(world.context, world.tavern);
      world.app = new Client(world.broker.url, 'app');
      world.bot = new Client(world.broker.url, 'bot');
      await Promise.all([world.app.connected(), world.bot.connected()]);
      await openSeraphina(world.page);
      return world;
    } catch (error) {
      await world.stop().catch(() => {});
      throw error;
    }
  }

  get target() {
    return this.tavern.clientId;
  }

  /** What the model has been asked for so far. */
  get asked() {
    return this.upstream.requests.length;
  }

  chat() {
    return chat(this.page);
  }

  /** The next answers of the model. */
  model(answer) {
    this.upstream.reply = typeof answer === 'function' ? answer : () => answer;
  }

  idle(page = this.page) {
    return stateIs(page, 'online');
  }

  async stop() {
    this.app?.close();
    this.bot?.close();
    await this.browser?.close();
    this.proxy?.stop();
    await this.broker?.stop();
    if (this.installed) await newage('extension', 'uninstall', ...this.where);
    await this.tavern?.stop();
    await this.upstream?.stop();
  }
}
