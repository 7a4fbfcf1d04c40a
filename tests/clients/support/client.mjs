// The official client in the releases and transports that people use, and what it receives.
import { createRequire } from 'node:module';
import ss from '@sap_oss/node-socketio-stream';
import { io as io40 } from 'socket.io-client-4.0';
import { io as io45 } from 'socket.io-client-4.5';
import { io as io48 } from 'socket.io-client-4.8';
import { next, within } from './wait.mjs';

const require = createRequire(import.meta.url);

export const RELEASES = new Map(
  [['4.0', io40], ['4.5', io45], ['4.8', io48]].map(([alias, io]) => [
    require(`socket.io-client-${alias}/package.json`).version,
    io,
  ]),
);
export const newest = io48;

export const TRANSPORTS = {
  websocket: ['websocket'],
  polling: ['polling'],
  upgrade: ['polling', 'websocket'],
};

export const STREAM_NAMES = ['streamed_data', 'SERVER_STREAM_DATA'];

/** One client: its namespaces share one connection, as in a program. */
export class Client {
  #io;
  #url;
  #options;
  #auth;
  #sockets = new Map();

  constructor(url, { clientId = 'frontendExample', io = newest, transport = 'websocket', auth = {} } = {}) {
    this.#io = io;
    this.#url = url;
    this.#auth = { clientType: 'web-app', clientId, key: 'getKey', ...auth };
    // forceNew at the first namespace only: two clients of one test must not share a connection.
    this.#options = { transports: TRANSPORTS[transport], reconnection: false };
    this.transport = transport;
    this.manager = null;
  }

  /** The socket of `namespace`, not yet connected; events may be heard from the start. */
  open(namespace) {
    if (this.#sockets.has(namespace)) return this.#sockets.get(namespace);
    let socket;
    if (this.manager === null) {
      socket = this.#io(`${this.#url}${namespace}`, { ...this.#options, forceNew: true, auth: this.#auth });
      this.manager = socket.io;
    } else {
      // Connects by itself; a second connect() would send CONNECT twice.
      socket = this.manager.socket(namespace, { auth: this.#auth });
    }
    this.#sockets.set(namespace, socket);
    return socket;
  }

  async connect(...namespaces) {
    const sockets = namespaces.map((namespace) => this.open(namespace));
    await Promise.all(sockets.map(connected));
    return sockets;
  }

  get engine() {
    return this.manager.engine;
  }

  /** The upgrade is over: the connection is a WebSocket. */
  async upgraded() {
    if (this.engine.transport.name !== 'websocket') await next(this.engine, 'upgrade');
  }

  close() {
    for (const socket of this.#sockets.values()) socket.disconnect();
    this.manager?.engine?.close();
  }
}

export function connected(socket) {
  if (socket.connected) return Promise.resolve();
  return within(
    new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('connect_error', reject);
    }),
    `${socket.nsp} connected`,
  );
}

/** Collects what `/llm` delivers, per request, in the order in which the program sees it. */
export class Inbox {
  #answers = new Map();
  #wanted = new Map();

  constructor(socket, streamName) {
    ss(socket).on(streamName, (stream, info) => this.#stream(stream, info));
    socket.on('message', (payload) => this.#message(payload));
    for (const name of [21, 'ERROR']) socket.on(name, (payload) => this.#failure(payload));
  }

  /** All that came for `requestId` so far. */
  answer(requestId) {
    let answer = this.#answers.get(requestId);
    if (!answer) {
      answer = { chunks: [], bytes: 0, streams: [], ended: 0, messages: [], errors: [], streamErrors: [] };
      this.#answers.set(requestId, answer);
    }
    return answer;
  }

  get requestIds() {
    return [...this.#answers.keys()];
  }

  /** The streamed bytes of `requestId`, once as many as those of `text` have come and all streams ended. */
  async text(requestId, text, ms) {
    const bytes = Buffer.byteLength(text);
    const answer = await this.when(requestId, (a) => a.bytes >= bytes && a.ended === a.streams.length, ms);
    return Buffer.concat(answer.chunks).toString('utf8');
  }

  /** The answer to `requestId`, as soon as `accepts` likes it. */
  when(requestId, accepts, ms = 20_000) {
    const answer = this.answer(requestId);
    if (accepts(answer)) return Promise.resolve(answer);
    const done = new Promise((resolve) => this.#wanted.set(requestId, { accepts, resolve }));
    return within(done, () => `${requestId}: has ${answer.bytes} bytes in ${answer.streams.length} streams, ${answer.ended} ended, ${answer.messages.length} messages, errors ${JSON.stringify(answer.errors)}`, ms);
  }

  #changed(requestId) {
    const wanted = this.#wanted.get(requestId);
    const answer = this.answer(requestId);
    if (!wanted?.accepts(answer)) return;
    this.#wanted.delete(requestId);
    wanted.resolve(answer);
  }

  #stream(stream, info) {
    const answer = this.answer(info.requestId);
    answer.streams.push(info);
    stream.on('data', (chunk) => {
      answer.chunks.push(chunk);
      answer.bytes += chunk.length;
      this.#changed(info.requestId);
    });
    stream.on('end', () => {
      answer.ended += 1;
      this.#changed(info.requestId);
    });
    stream.on('error', (error) => {
      answer.streamErrors.push(error.message);
      this.#changed(info.requestId);
    });
  }

  #message(payload) {
    this.answer(payload.requestId).messages.push(payload);
    this.#changed(payload.requestId);
  }

  #failure(payload) {
    this.answer(payload.requestId).errors.push(payload);
    this.#changed(payload.requestId);
  }
}
