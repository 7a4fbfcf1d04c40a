// A simulated SillyTavern extension that emits exactly what spec §5.3 says.
import { randomUUID } from 'node:crypto';
import { connected, newest, TRANSPORTS } from './client.mjs';
import { ask } from './wait.mjs';

const NAMED = {
  9: 'LLM_REQUEST',
  11: 'IDENTIFY_SILLYTAVERN',
  19: 'GET_ROOMS',
  21: 'ERROR',
  22: 'FUNCTION_CALL',
  29: 'GET_ALL_CLIENT_KEYS',
  31: 'CONNECTED_CLIENTS_UPDATE',
  32: 'UPDATE_CONNECTED_CLIENTS',
};

/** The five pieces of ⌈n/5⌉ UTF-16 units into which a token is cut; trailing ones are often empty. */
export function pieces(text) {
  const size = Math.ceil(text.length / 5);
  return Array.from({ length: 5 }, (_, index) => text.slice(index * size, (index + 1) * size));
}

/** What a receiver must get for `tokens`: the first one without its leading white space. */
export function expectedText(tokens) {
  return tokens.map((token, index) => (index === 0 ? token.trimStart() : token)).join('');
}

export class Extension {
  #sockets = [];
  #queue = [];
  #busy = false;

  /**
   * `reply(request)` says how to answer: `{tokens}`, `{finished}` (a whole text as one stream),
   * `{message}` (not streamed), `{error}`, `{script}` (an async function) or nothing at all.
   */
  constructor(url, { clientId = 'SillyTavern-8000', dialect = 1, transport = 'websocket', io = newest, reply, functions = {}, omitRequestId = dialect === 2, randomMessageId = false, auth = {} } = {}) {
    Object.assign(this, { url, clientId, dialect, transport, io, reply, functions, omitRequestId, randomMessageId });
    this.auth = auth;
    this.requests = [];
    this.clientLists = [];
  }

  name(type) {
    return this.dialect === 2 ? NAMED[type] : type;
  }

  /** A socket with a connection of its own, as the published extension opens most of them. */
  socket(namespace, clientType, key) {
    const socket = this.io(`${this.url}${namespace}`, {
      transports: TRANSPORTS[this.transport],
      reconnection: false,
      forceNew: true,
      auth: {
        clientType: this.dialect === 2 ? 'SillyTavern' : clientType,
        clientId: this.clientId,
        desc: '这是一个SillyTaven扩展',
        ...(key === undefined ? {} : { key }),
        ...this.auth,
      },
    });
    this.#sockets.push(socket);
    return socket;
  }

  /** The start sequence of spec §3.5; returns the acknowledgements that it waited for. */
  async start() {
    const acks = {};
    const read = async (clientType, requestId, file) => {
      const socket = this.socket('/function_call', clientType);
      // Steps start at `connect`, so that an ack that is lost then is noticed.
      await connected(socket);
      const ack = await ask(socket, this.name(22), {
        requestId,
        target: 'server',
        functionName: 'readJsonFromFile',
        args: [file],
      });
      socket.disconnect();
      return ack;
    };
    acks.rememberMe = await read('extension_checkRememberMe', 'checkRememberMe', `./settings/${this.clientId}-settings.json`);
    acks.networkSafe = await read('extension_loadNetworkSafe', 'loadNetworkSafeSetting', './settings/server_settings.json');

    const main = this.socket('/sillytavern', 'extension_tempMainSocket', 'getKey');
    await connected(main);
    acks.identify = await ask(main, this.name(11), { clientId: this.clientId });
    main.disconnect();

    const key = acks.identify.key;
    this.key = key;
    this.llm = this.socket('/llm', 'extension_mainSocket', key);
    this.llm.on(this.name(9), (request) => this.#enqueue(request));
    this.authSocket = this.socket('/auth', 'extension_authSocket', key);
    this.functionCall = this.socket('/function_call', 'extension_functionCallSocket', key);
    this.functionCall.on(this.name(22), (call, ack) => this.#call(call, ack));
    const rooms = this.socket('/clients', 'extension_roomsSocket', key);
    this.clients = this.socket('/clients', 'extension_clientsSocket', key);
    this.clients.on(this.name(31), (list) => this.clientLists.push(list));
    const [, , , roomList, keys, list] = await Promise.all([
      connected(this.llm),
      connected(this.authSocket),
      connected(this.functionCall),
      connected(rooms).then(() => ask(rooms, this.name(19), {})),
      connected(this.clients).then(() => ask(this.clients, this.name(29), {})),
      connected(this.clients).then(() => ask(this.clients, this.name(32), {})),
    ]);
    return { ...acks, rooms: roomList, keys, clients: list };
  }

  stop() {
    for (const socket of this.#sockets) socket.disconnect();
  }

  /** One generation: an output whose tokens are streams of their own. */
  stream(tokens, { requestId, outputId = randomUUID() } = {}) {
    tokens.forEach((token, index) => {
      const text = index === 0 ? token.trimStart() : token;
      this.#little(text, { requestId, outputId, first: index === 0 });
    });
    return outputId;
  }

  /** A finished text forwarded "as a stream": one stream, an output of its own. */
  finished(text, { requestId } = {}) {
    this.#little(text, { requestId, outputId: randomUUID(), first: true });
  }

  message(text, { requestId } = {}) {
    this.llm.emit('message', {
      type: 0,
      data: text,
      source: 'client',
      requestId: this.randomMessageId ? randomUUID() : requestId,
      outputId: randomUUID(),
    });
  }

  error(message, { requestId } = {}) {
    this.llm.emit(this.name(21), { type: this.dialect === 2 ? 'ERROR' : 21, message, requestId });
  }

  #little(text, { requestId, outputId, first }) {
    const streamId = randomUUID();
    const common = { streamId, outputId, target: 'server' };
    if (this.dialect === 1) Object.assign(common, { clientId: this.clientId, source: this.clientId });
    if (!this.omitRequestId) common.requestId = requestId;
    this.llm.emit('CLIENT_STREAM_START', { type: 1, ...common, numStreams: 5 });
    pieces(text).forEach((data, chunkIndex) => {
      const kind = chunkIndex === 4 ? 'LAST' : chunkIndex === 0 && first ? 'FIRST' : 'MIDDLE';
      const type = { FIRST: 4, MIDDLE: 5, LAST: 6 }[kind];
      this.llm.emit(`CLIENT_STREAM_DATA_${kind}`, { type, ...common, chunkIndex, data });
    });
    this.llm.emit('CLIENT_STREAM_END', { type: 3, ...common });
  }

  /** Requests are handled strictly one at a time, first in first out (spec §5.1). */
  async #enqueue(request) {
    this.requests.push(request);
    this.#queue.push(request);
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) await this.#answer(next);
    this.#busy = false;
  }

  async #answer(request) {
    const reply = this.reply?.(request);
    if (!reply) return;
    const requestId = request.requestId ?? request.currentRequest?.requestId;
    if (reply.tokens) this.stream(reply.tokens, { requestId });
    if (reply.finished !== undefined) this.finished(reply.finished, { requestId });
    if (reply.message !== undefined) this.message(reply.message, { requestId });
    if (reply.error !== undefined) this.error(reply.error, { requestId });
    if (reply.script) await reply.script(this, request);
  }

  #call(call, ack) {
    const run = this.functions[call.functionName];
    if (call.target !== this.clientId) return;
    if (!run) ack({ requestId: call.requestId, success: false, error: { message: `Function "${call.functionName}" not found.` } });
    else ack({ requestId: call.requestId, success: true, result: run(...call.args) });
  }
}
