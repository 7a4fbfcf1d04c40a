// Conduct on the wire: acks (spec §4), isolation of receivers, what is refused, and bad input
// (appendix B points 1, 2, 5, 6 and 7).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { startBroker } from './support/broker.mjs';
import { Client, connected, Inbox, newest, TRANSPORTS } from './support/client.mjs';
import { expectedText, Extension } from './support/extension.mjs';
import { TEXTS } from './support/texts.mjs';
import { ask, fence, next, within } from './support/wait.mjs';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const error = (message) => ({ status: 'error', message });

/** A broker, an extension that has started, and what else a test opens; all of it is closed again. */
function stage(options = {}) {
  const it = { clients: [] };
  before(async () => {
    it.broker = await startBroker(options);
    it.extension = new Extension(it.broker.url, { reply: ({ message }) => (TEXTS[message] ? { tokens: TEXTS[message] } : undefined), functions: { add: (a, b) => a + b }, ...options.extension });
    it.acks = await it.extension.start();
  });
  after(async () => {
    for (const client of it.clients) client.close();
    it.extension?.stop();
    await it.broker?.stop();
  });
  it.client = (client = {}) => {
    const opened = new Client(it.broker.url, client);
    it.clients.push(opened);
    return opened;
  };
  return it;
}

// A client keeps what it emits while it is not connected, and then posts it all at once. These are more than may wait
// for it at a time (limits.outbox_packets): it is read as fast as it takes its answers.
const MANY = 10_000;
describe('what a client has kept', () => {
  const it = stage();
  for (const transport of Object.keys(TRANSPORTS)) {
    test(`arrives over ${transport}`, async () => {
      const auth = it.client({ clientId: 'client-a', transport }).open('/auth');
      const answered = Array.from({ length: MANY }, () => ask(auth, 33, {}));
      await connected(auth);
      assert.equal((await Promise.all(answered)).filter(({ status }) => status === 'ok').length, MANY);
      assert.ok(auth.connected);
    });
  }
});

for (const transport of Object.keys(TRANSPORTS)) {
  describe(`acks over ${transport}`, () => {
    const it = stage();
    let admin;
    let client;
    const on = (who, namespace) => who.open(namespace);
    before(async () => {
      admin = it.client({ clientId: 'monitor', transport });
      client = it.client({ clientId: 'client-a', transport, auth: { desc: 'the first' } });
      const all = ['/', '/auth', '/clients', '/llm', '/rooms', '/sillytavern', '/function_call'];
      await admin.connect(...all, '/debug');
      await client.connect(...all);
    });

    test('9 LLM_REQUEST', async () => {
      const llm = on(client, '/llm');
      const target = it.extension.clientId;
      const id = randomUUID;
      const table = [
        [{ target, requestId: id(), message: 'hi' }, { status: 'ok', message: 'Request forwarded.' }],
        [{ target, requestId: id(), message: '' }, { status: 'ok', message: 'Request forwarded.' }],
        [{ target: [target], requestId: id(), message: 'hi', more: { a: [1.5] } }, { status: 'ok', message: 'Request forwarded.' }],
        [{ target: 'SillyTavern-9', requestId: id(), message: 'hi' }, error('Target client not found: SillyTavern-9')],
        [{ target: 'client-a', requestId: id(), message: 'hi' }, error('Target client not found: client-a')],
        [{ target: 'server', requestId: id(), message: 'hi' }, error('LLM requests should not be sent to the server directly.')],
        [{ target, message: 'hi' }, error('Invalid LLM request data.')],
        [{ requestId: id(), message: 'hi' }, error('Invalid LLM request data.')],
        [{ target, requestId: 7, message: 'hi' }, error('Invalid LLM request data.')],
        [{ target: [7], requestId: id(), message: 'hi' }, error('Invalid LLM request data.')],
        [{ target, requestId: id() }, error('Invalid LLM request data.')],
        [{}, error('Invalid LLM request data.')],
      ];
      for (const [payload, ack] of table) assert.deepEqual(await ask(llm, 9, payload), ack, JSON.stringify(payload));
    });

    test('11 IDENTIFY_SILLYTAVERN', async () => {
      assert.equal(it.acks.identify.status, 'ok');
      assert.ok(it.acks.identify.key);
      const again = it.extension.socket('/sillytavern', 'extension_tempMainSocket', 'getKey');
      await connected(again);
      const ack = await ask(again, 11, { clientId: it.extension.clientId });
      assert.deepEqual(ack, { status: 'warning', message: 'SillyTavern already connected.', key: it.extension.key });
      assert.deepEqual(await ask(on(client, '/sillytavern'), 11, { clientId: 'client-a' }), error('Unauthorized'));
    });

    test('17 GENERATE_CLIENT_KEY, 18 REMOVE_CLIENT_KEY', async () => {
      const clients = on(admin, '/clients');
      const made = await ask(clients, 17, { targetClientId: 'client-b', clientId: 'monitor' });
      assert.deepEqual(Object.keys(made).sort(), ['key', 'status']);
      assert.equal(made.status, 'ok');
      assert.match(made.key, UUID);
      assert.deepEqual(await ask(clients, 17, { targetClientId: 'nobody' }), error('Client not found.'));
      assert.deepEqual(await ask(clients, 18, { targetClientId: 'client-b' }), { status: 'ok' });
      assert.deepEqual(await ask(clients, 18, { targetClientId: 'client-b' }), { status: 'ok' });
      for (const event of [17, 18]) assert.deepEqual(await ask(on(client, '/clients'), event, { targetClientId: 'client-a' }), error('Unauthorized'));
    });

    test('22 FUNCTION_CALL', async () => {
      const call = on(client, '/function_call');
      const own = { requestId: 'f1', target: 'server', functionName: 'readJsonFromFile', args: ['./settings/client-a-settings.json'] };
      const read = await ask(call, 22, own);
      assert.deepEqual(read, { requestId: 'f1', success: true, result: { success: true, result: { clientId: 'client-a', isTrust: true } } });
      assert.deepEqual(await ask(call, 22, { ...own, functionName: 'constructor' }), { requestId: 'f1', success: false, error: { message: 'Function "constructor" not found.' } });
      assert.deepEqual(await ask(call, 22, { ...own, args: 7 }), { requestId: 'f1', success: false, error: { message: 'Invalid arguments.' } });
      const far = { requestId: 'f2', target: it.extension.clientId, functionName: 'add', args: [1, 2] };
      assert.deepEqual(await ask(call, 22, far), { requestId: 'f2', success: true, result: 3 });
      assert.deepEqual(await ask(call, 22, { ...far, functionName: 'sub' }), { requestId: 'f2', success: false, error: { message: 'Function "sub" not found.' } });
      assert.deepEqual(await ask(call, 22, { ...far, target: 'SillyTavern-9' }), { requestId: 'f2', success: false, error: { message: 'Target not found: SillyTavern-9' } });
    });

    test('23 LOGIN', async () => {
      const auth = on(client, '/auth');
      assert.deepEqual(await ask(auth, 23, {}), { success: false, message: 'Invalid login data.' });
      assert.deepEqual(await ask(auth, 23, { clientId: 'client-a', password: 'x' }), { success: false, message: 'Password not set on server.' });
    });

    test('26 GET_CLIENT_KEY', async () => {
      const own = [[on(admin, '/clients'), 'monitor'], [it.extension.authSocket, it.extension.clientId]];
      for (const [socket, clientId] of own) {
        const ack = await ask(socket, 26, { clientId });
        assert.deepEqual(Object.keys(ack).sort(), ['key', 'status']);
        assert.equal(ack.status, 'ok');
        assert.ok(ack.key.length > 0 && !ack.key.startsWith('$2'), 'a hash was handed out');
      }
      assert.deepEqual(await ask(on(client, '/clients'), 26, { clientId: 'monitor' }), error('Unauthorized'));
    });

    test('29 GET_ALL_CLIENT_KEYS', async () => {
      for (const payload of [[], [{}]]) {
        const ack = await ask(on(admin, '/clients'), 29, ...payload);
        assert.equal(ack.status, 'ok');
        assert.ok(Object.hasOwn(ack.keys, 'client-a'));
        for (const record of Object.values(ack.keys)) assert.deepEqual(record, { key: '', rooms: [], hasKey: true });
      }
      assert.deepEqual(await ask(on(client, '/clients'), 29, {}), error('Unauthorized'));
    });

    test('32 UPDATE_CONNECTED_CLIENTS and the push of 31', async () => {
      const ack = await ask(it.extension.clients, 32, {});
      assert.equal(ack.status, 'ok');
      assert.deepEqual(byId(ack.clients), [{ id: 'client-a', description: 'the first' }, { id: 'monitor' }]);
      assert.deepEqual(await ask(on(client, '/clients'), 32, {}), error('Unauthorized'));
      const pushed = next(it.extension.clients, 31, ({ clients }) => clients.some(({ id }) => id === 'client-b'));
      const joining = it.client({ clientId: 'client-b', transport });
      await joining.connect('/auth');
      await pushed;
      const left = next(it.extension.clients, 31, ({ clients }) => clients.every(({ id }) => id !== 'client-b'));
      joining.close();
      await left;
    });

    test('33 GET_SILLYTAVERN_EXTENSION', async () => {
      const ids = [it.extension.clientId];
      for (const payload of [[], [{}], [null], ['odd']]) {
        assert.deepEqual(await ask(on(client, '/auth'), 33, ...payload), { status: 'ok', allTheSTSocket: ids, extensions: ids });
      }
    });

    test('getClientList, getClientsInRoom', async () => {
      const list = await ask(on(admin, '/clients'), 'getClientList', {});
      assert.ok(Array.isArray(list));
      assert.ok(list.some(({ id }) => id === 'client-a'));
      for (const entry of list) assert.ok(typeof entry.id === 'string' && Object.keys(entry).every((key) => ['id', 'description'].includes(key)));
      assert.deepEqual(await ask(on(client, '/clients'), 'getClientList', {}), error('Unauthorized'));
      for (const room of ['client-a', { roomName: 'client-a' }]) {
        const members = await ask(on(admin, '/clients'), 'getClientsInRoom', room);
        assert.deepEqual(members.map(({ id }) => id), ['client-a']);
      }
      assert.deepEqual(await ask(on(admin, '/clients'), 'getClientsInRoom', 'no such room'), []);
    });
  });
}

describe('receivers do not influence each other', () => {
  const it = stage();
  const text = '100 KB';
  const expected = expectedText(TEXTS[text]);
  const receiver = async (options, streamName = 'streamed_data') => {
    const client = it.client(options);
    const llm = client.open('/llm');
    const inbox = streamName ? new Inbox(llm, streamName) : null;
    await client.connect('/llm', '/auth');
    return { client, llm, inbox };
  };
  const request = async (who, message = text) => {
    const requestId = randomUUID();
    assert.equal((await ask(who.llm, 9, { target: it.extension.clientId, requestId, message })).status, 'ok');
    return requestId;
  };

  test('two requesters at once get their own answers, and nothing of the other', async () => {
    const a = await receiver({ clientId: 'client-a' });
    const b = await receiver({ clientId: 'client-b' }, 'SERVER_STREAM_DATA');
    const asked = [];
    for (const name of Object.keys(TEXTS)) asked.push([a, await request(a, name), name], [b, await request(b, name), name]);
    for (const [who, requestId, name] of asked) {
      const wanted = expectedText(TEXTS[name]);
      assert.ok((await who.inbox.text(requestId, wanted)) === wanted, name);
    }
    for (const who of [a, b]) {
      const own = asked.filter(([asker]) => asker === who).map(([, requestId]) => requestId);
      assert.deepEqual(who.inbox.requestIds.sort(), own.sort());
    }
  });

  test('two sockets of one client both receive everything', async () => {
    const one = await receiver({ clientId: 'client-a' });
    const two = await receiver({ clientId: 'client-a', transport: 'polling' });
    const requestId = await request(one, 'emoji');
    const wanted = expectedText(TEXTS.emoji);
    for (const { inbox } of [one, two]) assert.equal(await inbox.text(requestId, wanted), wanted);
  });

  test('a deaf receiver, a slow one and one that leaves', async () => {
    const good = await receiver({ clientId: 'client-a' });
    const deaf = await receiver({ clientId: 'client-b' }, null);
    const leaving = await receiver({ clientId: 'python' }, null);
    // Reads once and never acknowledges: slow without end.
    const slow = await receiver({ clientId: 'frontendExample' }, null);
    const begun = next(slow.llm, '$stream-write');
    slow.llm.on('$stream', (name, { $stream: id }) => slow.llm.emit('$stream-read', id, 16384));
    const announced = next(leaving.llm, '$stream');
    for (const who of [deaf, leaving, slow]) await request(who);
    await begun;
    await announced;
    leaving.client.close();
    const requestId = await request(good);
    assert.ok((await good.inbox.text(requestId, expected)) === expected);
    await fence(deaf.client.open('/auth'));
    await fence(slow.client.open('/auth'));
  });

  test('a receiver that answers writes with an error, or ends early, loses only its own stream', async () => {
    const good = await receiver({ clientId: 'client-a' });
    const rude = await receiver({ clientId: 'client-b' }, null);
    rude.llm.on('$stream', (name, { $stream: id }) => {
      rude.llm.emit('$stream-read', id, 16384);
      rude.llm.emit('$stream-error', id, 'no, thank you');
      rude.llm.emit('$stream-end', id);
      rude.llm.emit('$stream-read', id, 16384);
      rude.llm.emit('$stream-end', 'no such stream');
      rude.llm.emit('$stream-read', null, 'x');
    });
    rude.llm.on('$stream-write', (id, chunk, encoding, ack) => ack(`invalid stream id: ${id}`));
    const rudely = next(rude.llm, '$stream');
    await request(rude, 'emoji');
    await rudely;
    const requestId = await request(good, 'emoji');
    const wanted = expectedText(TEXTS.emoji);
    assert.equal(await good.inbox.text(requestId, wanted), wanted);
    await fence(rude.client.open('/auth'));
  });

  test('a stream from a client is refused by its ack', async () => {
    const { llm } = await receiver({ clientId: 'client-a' });
    assert.equal(await ask(llm, '$stream-write', 'mine', Buffer.from('x'), 'buffer'), 'invalid stream id: mine');
  });
});

describe('what is refused', () => {
  const it = stage();

  test('forged responses', async () => {
    const victim = it.client({ clientId: 'client-a' });
    const forger = it.client({ clientId: 'client-b' });
    const other = new Extension(it.broker.url, { clientId: 'SillyTavern-8001' });
    const llm = victim.open('/llm');
    const inbox = new Inbox(llm, 'streamed_data');
    await victim.connect('/llm', '/auth');
    const [forgerLlm, forgerAuth] = await forger.connect('/llm', '/auth');
    await other.start();
    try {
      const requestId = randomUUID();
      assert.equal((await ask(llm, 9, { target: it.extension.clientId, requestId, message: 'unanswered' })).status, 'ok');
      // A client, and an extension that was not asked: neither may answer.
      other.stream(['forged'], { requestId });
      other.message('forged', { requestId });
      other.error('forged', { requestId });
      const forged = { clientId: it.extension.clientId, streamId: 's', outputId: 'o', requestId, source: it.extension.clientId, target: 'server' };
      forgerLlm.emit('CLIENT_STREAM_START', { type: 1, ...forged, numStreams: 5 });
      forgerLlm.emit('CLIENT_STREAM_DATA_FIRST', { type: 4, ...forged, chunkIndex: 0, data: 'forged' });
      forgerLlm.emit('CLIENT_STREAM_END', { type: 3, ...forged });
      forgerLlm.emit('message', { type: 0, data: 'forged', source: 'client', requestId, outputId: 'o' });
      forgerLlm.emit(21, { type: 21, message: 'forged', requestId });
      await fence(forgerAuth);
      await within(new Promise((resolve) => other.llm.emit('$stream-write', 'x', 'y', 'buffer', resolve)), 'the other extension being served');
      it.extension.stream(['the ', 'true ', 'one'], { requestId });
      assert.equal(await inbox.text(requestId, 'the true one'), 'the true one');
      const { messages, errors } = inbox.answer(requestId);
      assert.deepEqual([messages, errors], [[], []]);
    } finally {
      other.stop();
    }
  });

  test('a foreign requestId', async () => {
    const [mine] = await it.client({ clientId: 'client-a' }).connect('/llm');
    const [foreign] = await it.client({ clientId: 'client-b' }).connect('/llm');
    const payload = { target: it.extension.clientId, requestId: randomUUID(), message: 'unanswered' };
    const ok = { status: 'ok', message: 'Request forwarded.' };
    assert.deepEqual(await ask(mine, 9, payload), ok);
    assert.deepEqual(await ask(foreign, 9, payload), error('Duplicate requestId.'));
    // The same client again: idempotent, and not forwarded twice.
    assert.deepEqual(await ask(mine, 9, payload), ok);
    const last = { ...payload, requestId: randomUUID() };
    const arrived = next(it.extension.llm, 9, ({ requestId }) => requestId === last.requestId);
    await ask(mine, 9, last);
    await arrived;
    assert.equal(it.extension.requests.filter(({ requestId }) => requestId === payload.requestId).length, 1);
  });

  test('a sender cannot pose as another', async () => {
    const [llm] = await it.client({ clientId: 'client-a' }).connect('/llm');
    const requestId = randomUUID();
    const arrived = next(it.extension.llm, 9, (request) => request.requestId === requestId);
    await ask(llm, 9, { target: it.extension.clientId, requestId, message: 'x', clientId: 'monitor', source: 'server', big: 12345678901234567890n.toString(), keep: [1, null, { a: '\ud83d' }] });
    const [request] = await arrived;
    assert.equal(request.clientId, 'client-a');
    assert.equal(request.source, 'client-a');
    assert.deepEqual(request.keep, [1, null, { a: '\ud83d' }]);
  });

  test('IDENTIFY with the id of another extension', async () => {
    const socket = it.extension.socket('/sillytavern', 'extension_tempMainSocket', 'getKey');
    await connected(socket);
    assert.deepEqual(await ask(socket, 11, { clientId: 'SillyTavern-8001' }), error('Unauthorized'));
    assert.deepEqual(await ask(socket, 11, { clientId: ['SillyTavern-8000'] }), error('Unauthorized'));
  });

  test('paths that lead out of the server directory, or to keys', async () => {
    const [call] = await it.client({ clientId: 'monitor' }).connect('/function_call');
    const paths = ['../../etc/passwd.json', './settings/../../x.json', '..\\..\\x.json', '/etc/passwd', 'C:\\x.json', './keys/clients.json', './KEYS/clients.json', './settings\\..\\keys\\clients.json', 'logs/combined.log', './settings/x\u0000.json', '', '.', 'settings'];
    for (const functionName of ['readJsonFromFile', 'saveJsonToFile']) {
      for (const path of paths) {
        const ack = await ask(call, 22, { requestId: 'p', target: 'server', functionName, args: [path, { a: 1 }] });
        assert.notEqual(ack.result?.success, true, `${functionName} ${path}: ${JSON.stringify(ack)}`);
        assert.ok(!JSON.stringify(ack).includes(it.broker.data), 'an absolute path was told');
      }
    }
  });

  for (const [clientId, message] of [['distrusted', 'Client is not trusted.'], ['unknown', 'Client is not trusted.'], ['', 'clientId is required.'], [7, 'clientId is required.'], [undefined, 'clientId is required.'], ['a/b', 'clientId is required.'], ['server', 'clientId is required.']]) {
    test(`handshake with clientId ${JSON.stringify(clientId)}: CONNECT, ERROR, namespace disconnect`, async () => {
      const client = it.client({ auth: { clientId } });
      const socket = client.open('/llm');
      const order = [];
      socket.on('connect', () => order.push('connect'));
      for (const name of [21, 'ERROR']) socket.on(name, (payload) => order.includes('error') || (order.push('error'), assert.equal(payload.message, message)));
      const [reason] = await next(socket, 'disconnect');
      assert.equal(reason, 'io server disconnect');
      assert.deepEqual(order, ['connect', 'error']);
    });
  }

  test('a namespace that does not exist', async () => {
    const socket = it.client().open('/nowhere');
    const [refusal] = await next(socket, 'connect_error');
    assert.equal(refusal.message, 'Invalid namespace');
  });

  test('a goodbye closes its namespace only', async () => {
    const client = it.client({ clientId: 'client-a' });
    const [llm, auth] = await client.connect('/llm', '/auth');
    const gone = next(llm, 'disconnect');
    llm.emit(27, { clientId: 'client-a', reason: 'bye' });
    assert.deepEqual((await gone)[0], 'io server disconnect');
    await fence(auth);
  });
});

describe('keys with networkSafe:false', () => {
  // Not on loopback, as far as keys are concerned: the proxy header says that somebody else is behind it.
  const it = stage({ settings: { networkSafe: false } });
  const extraHeaders = { 'X-Forwarded-For': '203.0.113.7' };
  const remote = (namespace, key) => {
    const socket = newest(`${it.broker.url}${namespace}`, { forceNew: true, reconnection: false, transports: ['websocket'], extraHeaders, auth: { clientType: 'web-app', clientId: 'client-a', key } });
    it.clients.push({ close: () => socket.disconnect() });
    return socket;
  };

  test('getKey from afar opens nothing', async () => {
    const auth = remote('/auth', 'getKey');
    const pushes = [];
    for (const name of [20, 26, 'GET_CLIENT_KEY']) auth.on(name, (payload) => pushes.push(payload));
    await connected(auth);
    assert.deepEqual(await ask(auth, 23, {}), { success: false, message: 'Invalid login data.' });
    assert.deepEqual(pushes, []);

    // On the connection of /auth, so that the answer to LOGIN says that the request has been handled.
    const llm = auth.io.socket('/llm', { auth: auth.auth });
    await connected(llm);
    const requestId = randomUUID();
    const answers = [];
    llm.emit(9, { target: it.extension.clientId, requestId, message: 'let me in' }, (ack) => answers.push(ack));
    await ask(auth, 23, {});
    await fence(it.extension.authSocket);
    assert.ok(!it.extension.requests.some((request) => request.requestId === requestId));
    assert.ok(answers.every(({ status }) => status === 'error'), JSON.stringify(answers));
  });

  test('a wrong key is refused, the right one is not', async () => {
    const wrong = remote('/llm', 'wrong');
    const said = next(wrong, 21);
    await next(wrong, 'disconnect');
    assert.equal((await said)[0].message, 'Invalid key.');

    const { key } = await ask(it.extension.clients, 17, { targetClientId: 'client-a', clientId: it.extension.clientId });
    const right = remote('/llm', key);
    await connected(right);
    const ack = await ask(right, 9, { target: it.extension.clientId, requestId: randomUUID(), message: 'x' });
    assert.deepEqual(ack, { status: 'ok', message: 'Request forwarded.' });
  });

  test('getKey on loopback is answered with a key that works from afar', async () => {
    const auth = it.client({ clientId: 'client-a' }).open('/auth');
    const [{ key, clientId }] = await next(auth, 26);
    assert.equal(clientId, 'client-a');
    const socket = remote('/auth', key);
    await connected(socket);
    await fence(socket);
  });
});

describe('bad input', () => {
  const it = stage();
  const NAMESPACES = ['/', '/auth', '/clients', '/llm', '/rooms', '/sillytavern', '/function_call', '/debug'];
  const NUMBERS = Array.from({ length: 34 }, (_, index) => index).filter((type) => type !== 27);
  const NAMES = ['message', 'getClientList', 'getClientsInRoom', 'getRooms', '$stream', '$stream-read', '$stream-write', '$stream-end', '$stream-error', 'CLIENT_STREAM_START', 'CLIENT_STREAM_DATA_FIRST', 'CLIENT_STREAM_DATA_MIDDLE', 'CLIENT_STREAM_DATA_LAST', 'CLIENT_STREAM_DATA_RETRY', 'CLIENT_STREAM_DATA_FAILED', 'CLIENT_STREAM_END', 'SERVER_STREAM_DATA', 'LLM_REQUEST', 'LLM_RESPONSE', 'IDENTIFY_SILLYTAVERN', 'CLIENT_SETTINGS', 'CREATE_ROOM', 'DELETE_ROOM', 'ADD_CLIENT_TO_ROOM', 'REMOVE_CLIENT_FROM_ROOM', 'GENERATE_CLIENT_KEY', 'REMOVE_CLIENT_KEY', 'GET_ROOMS', 'FUNCTION_CALL', 'LOGIN', 'GET_CLIENT_LIST', 'GET_CLIENTS_IN_ROOM', 'GET_CLIENT_KEY', 'GET_ALL_CLIENT_KEYS', 'UPDATE_CONNECTED_CLIENTS', 'GET_SILLYTAVERN_EXTENSION', 'ERROR', '__proto__', 'constructor', '', 'nobody knows this'];
  const deep = (depth) => (depth === 0 ? 1 : [deep(depth - 1)]);
  const PAYLOADS = [[], [null], [7], ['text'], [[]], [true], [{}, {}, {}], [Buffer.from([0, 255])], [deep(60)], [{ target: {}, requestId: [], message: 1e308, args: 'x', functionName: {}, clientId: {}, targetClientId: 3, roomName: {}, streamId: {}, outputId: 1, chunkIndex: -1, data: { $stream: 'x' }, type: 'x' }]];

  for (const clientId of ['SillyTavern-8001', 'monitor', 'client-b']) {
    test(`every event, every shape, with and without ack, as ${clientId}: the sockets stay`, { timeout: 120_000 }, async () => {
      const client = it.client({ clientId });
      const sockets = await client.connect(...(clientId === 'client-b' ? NAMESPACES.filter((name) => name !== '/debug') : NAMESPACES));
      const lost = [];
      for (const socket of sockets) socket.on('disconnect', (reason) => lost.push(`${socket.nsp}: ${reason}`));
      const auth = client.open('/auth');
      for (const event of [...NUMBERS, ...NAMES]) {
        for (const payload of PAYLOADS) {
          for (const socket of sockets) {
            // Removing or making keys is tested elsewhere; here nothing has a valid target.
            socket.emit(event, ...payload);
            socket.emit(event, ...payload, () => {});
          }
        }
        await fence(auth);
        assert.deepEqual(lost, [], `after event ${event}`);
      }
      client.close();
    });
  }

  test('an event named null is ignored', async () => {
    const client = it.client({ clientId: 'client-a' });
    const [llm, auth] = await client.connect('/llm', '/auth');
    llm.emit(null, { reason: 'undefined constant' });
    llm.emit(null, Buffer.from('attachment'));
    await fence(auth);
    assert.ok(llm.connected);
  });

  test('afterwards everybody is served', async () => {
    const client = it.client({ clientId: 'client-a' });
    const llm = client.open('/llm');
    const inbox = new Inbox(llm, 'streamed_data');
    await client.connect('/llm');
    const requestId = randomUUID();
    await ask(llm, 9, { target: it.extension.clientId, requestId, message: 'emoji' });
    const expected = expectedText(TEXTS.emoji);
    assert.equal(await inbox.text(requestId, expected), expected);
    assert.ok(it.broker.running);
  });
});

function byId(list) {
  return [...list].sort((a, b) => (a.id < b.id ? -1 : 1));
}
