// Between clients and the broker, to do to their connections what networks do.
import { once } from 'node:events';
import net from 'node:net';

export class Proxy {
  #pairs = new Set();
  #server;
  #to;

  constructor(url) {
    this.#to = new URL(url);
  }

  async listen() {
    this.#server = net.createServer((client) => this.#join(client));
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  #join(client) {
    const broker = net.connect(this.#to.port, this.#to.hostname);
    const pair = { client, broker };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      broker.destroy();
    };
    for (const side of [client, broker]) side.setNoDelay().on('error', end).on('close', end);
    client.pipe(broker);
    broker.pipe(client);
  }

  /** All connections that are open, for one of these to happen to. */
  get pairs() {
    return [...this.#pairs];
  }

  close() {
    for (const { client } of this.#pairs) client.destroy();
    this.#server.close();
  }
}

/** What may happen to a connection; `ms` is how long it takes where it takes time. */
export const MISHAPS = {
  closed: ({ client, broker }) => {
    client.destroy();
    broker.destroy();
  },
  reset: ({ client, broker }) => {
    client.resetAndDestroy();
    broker.resetAndDestroy();
  },
  halfClosed: ({ broker }) => broker.end(),
  // Only the client notices. The broker is not told for as long as the test lasts.
  forgotten: ({ client, broker }) => {
    client.unpipe(broker);
    broker.unpipe(client);
    broker.removeAllListeners('close').resume();
    client.removeAllListeners('close').destroy();
  },
  // Nothing comes through any more, and after a while both notice.
  swallowed: (pair, ms) => {
    const { client, broker } = pair;
    pair.swallowed = true;
    client.unpipe(broker);
    broker.unpipe(client);
    broker.pause();
    setTimeout(() => client.destroy(), ms);
  },
  slow: (pair, ms) => {
    // Two pipes would bring everything twice.
    if (pair.slow || pair.swallowed) return;
    const { client, broker } = pair;
    pair.slow = true;
    broker.unpipe(client);
    broker.pause();
    setTimeout(() => {
      pair.slow = false;
      if (!pair.swallowed && !client.destroyed) broker.pipe(client);
    }, ms);
  },
};
