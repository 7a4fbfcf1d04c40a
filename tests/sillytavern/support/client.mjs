// A program that asks: the official client and the stream library.
import ss from '@sap_oss/node-socketio-stream';
import { Manager } from 'socket.io-client';
import { randomUUID } from 'node:crypto';
import { within } from './wait.mjs';

export class Client {
  constructor(url, clientId, auth = {}) {
    this.manager = new Manager(url, { transports: ['websocket'], reconnectionDelay: 100, reconnectionDelayMax: 300 });
    this.auth = { clientType: 'test', clientId, dialect: 'named', key: 'getKey', ...auth };
    this.llm = this.manager.socket('/llm', { auth: this.auth });
    this.calls = this.manager.socket('/function_call', { auth: this.auth });
    this.lobby = this.manager.socket('/auth', { auth: this.auth });
    this.answers = new Map();
    this.watchers = new Set();
    this.refusals = [];
    ss(this.llm).on('streamed_data', (stream, info) => this.#stream(stream, info));
    this.llm.on('message', (payload) => this.#note(payload.requestId, (answer) => answer.messages.push(payload)));
    this.llm.on('ERROR', (error) => {
      if (error.requestId) this.#note(error.requestId, (answer) => answer.errors.push(error));
      else this.refusals.push(error);
    });
  }

  async connected() {
    for (const socket of [this.llm, this.calls, this.lobby]) {
      if (!socket.connected) await within(new Promise((resolve) => socket.once('connect', resolve)), `${socket.nsp} connecting`);
    }
    return this;
  }

  answer(requestId) {
    if (!this.answers.has(requestId)) {
      this.answers.set(requestId, { streams: [], messages: [], errors: [], ends: [] });
    }
    return this.answers.get(requestId);
  }

  #note(requestId, change) {
    change(this.answer(requestId));
    for (const watcher of this.watchers) watcher();
  }

  #stream(stream, info) {
    const got = { info, chunks: [], ended: false, failed: null };
    this.#note(info.requestId, (answer) => answer.streams.push(got));
    stream.on('data', (chunk) => this.#note(info.requestId, () => got.chunks.push(chunk)));
    stream.on('end', () => this.#note(info.requestId, () => (got.ended = true)));
    stream.on('error', (error) => this.#note(info.requestId, () => (got.failed = error.message)));
  }

  /** Until `accepts` likes the answer to `requestId`. */
  async when(requestId, accepts, ms = 20_000) {
    const answer = this.answer(requestId);
    let watcher;
    const done = new Promise((resolve) => {
      watcher = () => accepts(answer) && resolve();
      this.watchers.add(watcher);
      watcher();
    });
    await within(done, () => `${requestId}: ${JSON.stringify(summary(answer))}`, ms).finally(() => this.watchers.delete(watcher));
    return answer;
  }

  /** Sends a request, and gives its id once the broker has taken it. */
  async ask(target, message, more = {}) {
    const requestId = more.requestId ?? randomUUID();
    const ack = await within(this.llm.emitWithAck('LLM_REQUEST', { target, message, ...more, requestId }), 'the ack of a request');
    if (ack.status !== 'ok') throw new Error(`refused: ${JSON.stringify(ack)}`);
    return requestId;
  }

  /** The whole text of a streamed answer; there must be exactly one stream. */
  async streamed(requestId, ms) {
    const answer = await this.when(requestId, ({ streams, errors }) => streams.some(({ ended }) => ended) || errors.length > 0, ms);
    if (answer.errors.length > 0) throw new Error(`failed: ${JSON.stringify(answer.errors)}`);
    if (answer.streams.length !== 1) throw new Error(`${answer.streams.length} streams`);
    return text(answer.streams[0]);
  }

  async whole(requestId, ms) {
    const answer = await this.when(requestId, ({ messages, errors }) => messages.length > 0 || errors.length > 0, ms);
    if (answer.errors.length > 0) throw new Error(`failed: ${JSON.stringify(answer.errors)}`);
    if (answer.messages.length !== 1 || answer.streams.length !== 0) throw new Error(JSON.stringify(summary(answer)));
    return answer.messages[0].data;
  }

  async failure(requestId, ms) {
    const answer = await this.when(requestId, ({ errors }) => errors.length > 0, ms);
    return answer.errors[0].message;
  }

  call(target, functionName, ...args) {
    const payload = { requestId: randomUUID(), target, functionName, args };
    return within(this.calls.emitWithAck('FUNCTION_CALL', payload), `the answer of ${functionName}`);
  }

  close() {
    for (const socket of [this.llm, this.calls, this.lobby]) socket.disconnect();
  }
}

export const text = ({ chunks }) => Buffer.concat(chunks).toString('utf8');

const summary = ({ streams, messages, errors }) => ({
  streams: streams.map((stream) => ({ text: text(stream), ended: stream.ended, failed: stream.failed })),
  messages: messages.map(({ data }) => data),
  errors: errors.map(({ message }) => message),
});
