// Brokers that want a key, also from this machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Broker, newage } from './support/broker.mjs';
import { Client, text } from './support/client.mjs';
import { connect, openPanel, part, stateIs } from './support/page.mjs';
import { startProxy } from './support/proxy.mjs';
import { TEXT, TOKENS } from './support/texts.mjs';
import { door } from './support/upstream.mjs';

/** `the` gives the world, once it is there; the page is connected to its broker, before and after. */
export function keys(the) {
  test('a broker that wants keys: it gives this machine one, and a wrong one is refused in words', async () => {
    const world = the();
    const { page, target } = world;
    const strict = await Broker.start({ clients: [target], settings: { networkSafe: false } });
    try {
      await connect(page, strict.url);
      await part(page, 'key-client').fill(target);
      await part(page, 'key-generate').click();
      await part(page, 'key-row').waitFor();
      const key = await part(page, 'key-result').inputValue();
      await part(page, 'key').fill('wrong');
      await part(page, 'key').press('Tab');
      await stateIs(page, 'refused');
      assert.match(await part(page, 'state').textContent(), /Invalid key/);
      await part(page, 'key').fill(key);
      await part(page, 'key').press('Tab');
      await world.idle();
      // The key is the lasting one: it survives the broker.
      await strict.kill();
      await stateIs(page, 'unreachable');
      await strict.up();
      await world.idle();
    } finally {
      await part(page, 'key').fill('');
      await connect(page, world.proxy.url);
      await strict.stop();
    }
  });

  test('a broker that wants keys and gives none away: without one, or with a wrong one, it is refused in words', async () => {
    const world = the();
    const { page, target } = world;
    const config = '[trust]\nget_key_from_loopback = false\ninvalid_key_policy = "tempRoom"\n';
    const strict = await Broker.start({ clients: [], settings: { networkSafe: false }, config });
    const refused = async (why) => {
      await part(page, 'state').filter({ hasText: `The broker refuses this client: ${why}` }).waitFor();
      await stateIs(page, 'refused');
    };
    try {
      const { stdout } = await newage('client', 'add', target, '--data', strict.data);
      await openPanel(page);
      await part(page, 'url').fill(strict.url);
      await part(page, 'url').press('Tab');
      await refused('The broker asks for a key.');
      await part(page, 'key').fill('wrong');
      await part(page, 'key').press('Tab');
      await refused('Invalid key.');
      const [key] = /[0-9a-f-]{36}/.exec(stdout);
      await part(page, 'key').fill(key);
      await part(page, 'key').press('Tab');
      await world.idle();
    } finally {
      await part(page, 'key').fill('');
      await connect(page, world.proxy.url);
      await strict.stop();
    }
  });

  test('a broker that knows only the hash of the key: it is known again after the network has broken', async () => {
    const world = the();
    const { page, target } = world;
    const config = '[trust]\nget_key_from_loopback = false\n';
    const strict = await Broker.start({ clients: [], settings: { networkSafe: false }, config });
    const network = await startProxy(() => strict.port);
    let asking;
    try {
      const keyOf = async (clientId) => {
        const { stdout } = await newage('client', 'add', clientId, '--data', strict.data);
        return /[0-9a-f-]{36}/.exec(stdout)[0];
      };
      const [own, others] = [await keyOf(target), await keyOf('app')];
      // It notices who was added, but after a while.
      await strict.kill();
      await strict.up();
      await openPanel(page);
      await part(page, 'key').fill(own);
      await part(page, 'key').press('Tab');
      asking = new Client(strict.url, 'app', { key: others });
      await asking.connected();
      await connect(page, network.url);
      const hold = door(4);
      world.model({ tokens: TOKENS, gate: hold.gate });
      const id = await asking.ask(target, 'Do not mind the network.');
      await hold.reached;
      await asking.when(id, ({ streams }) => streams.length > 0 && text(streams[0]).length > 0);
      network.cut();
      await asking.when(id, ({ streams }) => streams[0].failed !== null);
      hold.open();
      const { streams, errors } = await asking.when(id, (answer) => answer.streams.some(({ ended }) => ended));
      assert.deepEqual(errors, []);
      assert.equal(text(streams[1]), TEXT);
      await world.idle();
    } finally {
      asking?.close();
      await part(page, 'key').fill('');
      await connect(page, world.proxy.url);
      network.stop();
      await strict.stop();
    }
  });
}
