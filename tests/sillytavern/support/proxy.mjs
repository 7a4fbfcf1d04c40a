// A network between page and broker that can break, while both go on.
import { connect, createServer } from 'node:net';
import { once } from 'node:events';

export async function startProxy(port) {
  const pairs = new Set();
  const server = createServer((near) => {
    const far = connect(port(), '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.pipe(to);
      from.on('error', () => {});
      from.on('close', () => {
        pairs.delete(pair);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Ends all connections; new ones are let through. */
    cut: () => pairs.forEach((pair) => pair.forEach((socket) => socket.destroy())),
    stop: () => {
      server.close();
      pairs.forEach((pair) => pair.forEach((socket) => socket.destroy()));
    },
  };
}
