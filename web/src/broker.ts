/** The page's three namespaces on its own origin, and what it says and hears there (spec §7, §4.2, §4.4). */
import ss from '@sap_oss/node-socketio-stream/node-socketio-stream.js';
import { Manager, type Socket } from 'socket.io-client';
import type { StreamInfo } from './answers';
import { ERROR_NAME, MSG_TYPE, STREAM_EVENT } from './constants';

export type Link = 'connecting' | 'online' | 'offline' | 'refused';

export interface ServerError {
  message: string;
  code?: unknown;
  requestId?: string;
}

export interface BrokerEvents {
  link: (link: Link) => void;
  unreachable: (detail: string) => void;
  refused: (namespace: string, error: ServerError | null) => void;
  error: (error: ServerError) => void;
  opened: (info: StreamInfo) => void;
  chunk: (info: StreamInfo, bytes: Uint8Array) => void;
  closed: (info: StreamInfo) => void;
  broken: (info: StreamInfo, message: string) => void;
  message: (requestId: string, outputId: string, text: string) => void;
}

/** Why an acknowledged event brought nothing. */
export class NoAnswer extends Error {}
export class Refused extends Error {}

const ACK_TIMEOUT_MS = 10_000;
const NAMESPACES = ['/auth', '/llm', '/function_call'] as const;

export class Broker {
  readonly #sockets: Map<string, Socket>;
  readonly #events: BrokerEvents;
  readonly #refused = new Set<string>();
  readonly #lastError = new Map<string, ServerError>();
  #wasOnline = false;

  constructor(url: string, path: string, events: BrokerEvents) {
    this.#events = events;
    const manager = new Manager(url, {
      path,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      // Each socket connects once, below, when its listeners stand.
      autoConnect: false,
    });
    const auth = {
      clientId: 'monitor',
      clientType: 'monitor',
      key: 'getKey',
      desc: 'monitor page',
      dialect: 1,
      streamEvent: STREAM_EVENT,
    };
    this.#sockets = new Map(NAMESPACES.map((name) => [name, manager.socket(name, { auth })]));
    for (const [name, socket] of this.#sockets) this.#watch(name, socket);
    this.#listen(this.#socket('/llm'));
    for (const socket of this.#sockets.values()) socket.connect();
  }

  /** Connects again what the broker refused; the library itself does not, after a refusal. */
  reconnect(): void {
    this.#refused.clear();
    for (const socket of this.#sockets.values()) if (!socket.active) socket.connect();
    this.#report();
  }

  /** Ids of the extensions that can be asked, oldest first. */
  async extensions(): Promise<string[]> {
    const reply = await this.#ask('/auth', MSG_TYPE.GET_SILLYTAVERN_EXTENSION);
    const ids = reply.allTheSTSocket ?? reply.extensions;
    return Array.isArray(ids) ? ids.filter((id): id is string => typeof id === 'string') : [];
  }

  /** Sends a prompt; resolves when the broker has forwarded it. */
  async request(requestId: string, target: string, message: string): Promise<void> {
    await this.#ask('/llm', MSG_TYPE.LLM_REQUEST, { type: MSG_TYPE.LLM_REQUEST, requestId, target, message });
  }

  get online(): boolean {
    return [...this.#sockets.values()].every((socket) => socket.connected);
  }

  async #ask(namespace: string, event: number, ...payload: unknown[]): Promise<Record<string, unknown>> {
    let reply: unknown;
    try {
      // Numeric event names are the protocol's; only the library's types ask for a string.
      reply = await this.#socket(namespace).timeout(ACK_TIMEOUT_MS).emitWithAck(event as never, ...payload);
    } catch {
      throw new NoAnswer();
    }
    const fields = isObject(reply) ? reply : {};
    if (fields.status === 'error') throw new Refused(text(fields.message));
    return fields;
  }

  #socket(namespace: string): Socket {
    const socket = this.#sockets.get(namespace);
    if (!socket) throw new Error(`namespace ${namespace} is not one of the page's`);
    return socket;
  }

  #watch(namespace: string, socket: Socket): void {
    socket.on('connect', () => {
      this.#lastError.delete(namespace);
      this.#report();
    });
    socket.on('connect_error', (error) => {
      this.#events.unreachable(error.message);
      this.#report();
    });
    socket.on('disconnect', (reason) => {
      if (reason === 'io server disconnect') {
        this.#refused.add(namespace);
        this.#events.refused(namespace, this.#lastError.get(namespace) ?? null);
      }
      this.#report();
    });
    const failed = (payload: unknown): void => {
      const error = serverError(payload);
      this.#lastError.set(namespace, error);
      this.#events.error(error);
    };
    socket.on(MSG_TYPE.ERROR as never, failed);
    socket.on(ERROR_NAME, failed);
  }

  #listen(llm: Socket): void {
    ss(llm).on(STREAM_EVENT, (stream, metadata) => {
      const info = streamInfo(metadata);
      let over = false;
      this.#events.opened(info);
      stream.on('data', (chunk) => this.#events.chunk(info, chunk));
      stream.on('end', () => {
        if (!over) this.#events.closed(info);
        over = true;
      });
      stream.on('error', (error) => {
        if (!over) this.#events.broken(info, error.message);
        over = true;
      });
    });
    llm.on('message', (payload: unknown) => {
      if (!isObject(payload) || payload.type !== MSG_TYPE.NON_STREAM) return;
      this.#events.message(text(payload.requestId), text(payload.outputId), text(payload.data));
    });
  }

  #report(): void {
    if (this.online) this.#wasOnline = true;
    const waiting = this.#wasOnline ? 'offline' : 'connecting';
    this.#events.link(this.online ? 'online' : this.#refused.size > 0 ? 'refused' : waiting);
  }
}

function serverError(payload: unknown): ServerError {
  if (!isObject(payload)) return { message: text(payload) };
  const error: ServerError = { message: text(payload.message), code: payload.code };
  if (typeof payload.requestId === 'string') error.requestId = payload.requestId;
  return error;
}

function streamInfo(metadata: unknown): StreamInfo {
  const fields = isObject(metadata) ? metadata : {};
  return {
    streamId: text(fields.streamId),
    outputId: text(fields.outputId),
    requestId: text(fields.requestId),
    source: text(fields.source),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? '' : String(value);
}
