import net from 'node:net';
import { randomUUID } from 'node:crypto';
import ss from '@sap_oss/node-socketio-stream';
import { startBroker } from './support/broker.mjs';
import { newest, RELEASES, TRANSPORTS } from './support/client.mjs';
import { Extension } from './support/extension.mjs';

const SECONDS = Number(process.argv[2] ?? 60), N = Number(process.argv[3] ?? 12), EXTCHAOS = process.argv[4] === 'ext';
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const rnd = (n) => Math.floor(Math.random() * n);
class Proxy {
  constructor(url) { this.to = new URL(url); this.pairs = new Set(); }
  async listen() {
    this.server = net.createServer((a) => {
      const b = net.connect(this.to.port, this.to.hostname); a.setNoDelay(); b.setNoDelay();
      const pair = { a, b }; this.pairs.add(pair);
      const end = () => { this.pairs.delete(pair); a.destroy(); b.destroy(); };
      a.on('error', end).on('close', end); b.on('error', end).on('close', end);
      a.pipe(b); b.pipe(a);
    });
    await new Promise((r) => this.server.listen(0, '127.0.0.1', r));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
  }
  async kill() {
    const all = [...this.pairs]; if (!all.length) return;
    const { a, b } = all[rnd(all.length)];
    switch (rnd(5)) {
      case 0: a.destroy(); b.destroy(); break;
      case 1: a.resetAndDestroy(); b.resetAndDestroy(); break;
      case 2: a.unpipe(b); b.unpipe(a); b.pause(); await sleep(rnd(1500)); a.destroy(); b.destroy(); break; // black hole
      case 3: b.unpipe(a); b.pause(); await sleep(rnd(400)); b.pipe(a); break; // stall only
      case 4: b.end(); break;
    }
  }
}
const ids = Array.from({ length: N }, (_, i) => `soak-${i}`);
const broker = await startBroker({ clients: ids.map((clientId) => ({ clientId, isTrust: true })), config: '[limits]\n' , expected: [/.*/] });
const proxy = new Proxy(broker.url); await proxy.listen();
const extProxy = new Proxy(broker.url); await extProxy.listen();
const done = new Map();
const stats = { requests: 0, whole: 0, gaps: 0, dups: 0, errors: 0, streamErrors: 0, hangs: 0, disconnects: 0, plain: 0 };
const fails = [];
const COUNT = 200;
const token = (i) => `${String(i).padStart(5, '0')}é `;
function ext(clientId, style) {
  const url = EXTCHAOS ? extProxy.url : broker.url;
  const e = new Extension(url, { clientId, io: (u, o) => newest(u, { ...o, reconnection: EXTCHAOS, reconnectionDelay: 50, reconnectionDelayMax: 300 }), reply: () => ({ script: async (x, request) => {
    const requestId = request.requestId; const outputId = randomUUID();
    const common = () => ({ outputId, requestId, target: 'server', clientId });
    if (style === 'message') { await sleep(rnd(300)); x.message(Array.from({ length: COUNT }, (_, i) => token(i)).join(''), { requestId }); done.set(requestId, Date.now()); return; }
    let streamId = randomUUID();
    if (style === 'one') x.llm.emit('CLIENT_STREAM_START', { ...common(), streamId, type: 1 });
    for (let i = 0; i < COUNT; i += 1) {
      if (style === 'tokens') {
        streamId = randomUUID();
        x.llm.emit('CLIENT_STREAM_START', { ...common(), streamId, type: 1, numStreams: 2 });
        x.llm.emit('CLIENT_STREAM_DATA_FIRST', { ...common(), streamId, type: 4, chunkIndex: 0, data: token(i).slice(0, 3) });
        x.llm.emit('CLIENT_STREAM_DATA_LAST', { ...common(), streamId, type: 6, chunkIndex: 1, data: token(i).slice(3) });
        x.llm.emit('CLIENT_STREAM_END', { ...common(), streamId, type: 3, final: i === COUNT - 1 });
      } else x.llm.emit('CLIENT_STREAM_DATA_MIDDLE', { ...common(), streamId, type: 5, chunkIndex: i, data: token(i) });
      if (i % 4 === 0) await sleep(rnd(12));
    }
    if (style === 'one') x.llm.emit('CLIENT_STREAM_END', { ...common(), streamId, type: 3, final: true });
    done.set(requestId, Date.now());
  } }) });
  return e;
}
const extensions = [ext('SillyTavern-8000', 'one'), ext('SillyTavern-8001', 'tokens')];
for (const e of extensions) { for (;;) { try { await e.start(); break; } catch (x) { console.log('ext start', x.message); await sleep(100); } } }
let chaos = true; const end = Date.now() + SECONDS * 1000;
(async () => { while (chaos) { await sleep(rnd(150)); proxy.kill(); } })();
if (EXTCHAOS) (async () => { while (chaos) { await sleep(1000 + rnd(3000)); extProxy.kill(); } })();
async function client(id, index) {
  const io = [...RELEASES.values()][index % 3]; const transport = Object.keys(TRANSPORTS)[index % 3];
  const socket = io(`${proxy.url}/llm`, { transports: TRANSPORTS[transport], forceNew: true, reconnectionDelay: 30, reconnectionDelayMax: 300, randomizationFactor: 0.5, auth: { clientType: 'app', clientId: id, key: 'getKey' } });
  let from = ''; const hook = () => { const e = socket.io.engine; const tag = Math.random().toString(36).slice(2, 5); e.on('data', () => { from = tag; }); }; socket.io.on('open', hook);
  let epoch = 0; let current = null; let waiting = new Set();
  socket.on('disconnect', () => { epoch += 1; stats.disconnects += 1; if (current) { current.breaks += 1; (current.at ??= []).push(Date.now()-current.begun); } });
  socket.on('connect', () => { if (current && !done.has(current.requestId)) send(); });
  const handle = (stream, info) => {
    const r = current?.requestId === info.requestId ? current : null;
    stream.on('data', (c) => { if (r) { r.text.push(c); r.last = Date.now(); r.log.push(`${Date.now()-r.begun}@${epoch}:${from}:${stream.id}:${info.streamId?.slice(0,4)}:${c.length}:${c.toString().slice(0,5)}`);} });
    stream.on('error', (e) => { if (r) { r.streamErrors.push(e.message); r.last = Date.now(); if (e.message !== 'Connection aborted') stats.streamErrors += 1; } });
  };
  ss(socket).on('streamed_data', handle);
  socket.on('message', (m) => { if (current?.requestId === m.requestId) { current.message = m.data; current.last = Date.now(); } });
  for (const n of [21, 'ERROR']) socket.on(n, (e) => { if (current && e.requestId === current.requestId) { current.error = e.message; current.last = Date.now(); } });
  function send() {
    const r = current; const request = { target: r.target, requestId: r.requestId, message: 'x', isStreamTarget: true };
    socket.emit(9, request, (ack) => { r.acks.push(ack.status + (ack.status === 'ok' ? '' : ack.message)); });
  }
  while (Date.now() < end) {
    const r = current = { requestId: randomUUID(), target: extensions[rnd(extensions.length)].clientId, text: [], breaks: 0, streamErrors: [], acks: [], last: Date.now(), log: [], begun: Date.now() };
    if (socket.connected) send();
    stats.requests += 1;
    for (;;) {
      await sleep(50);
      const got = Buffer.concat(r.text).toString();
      if (got.endsWith(token(COUNT - 1))) break;
      if (r.error) break;
      if (r.acks.some((a) => a.startsWith('error'))) break;
      if (done.has(r.requestId) && socket.connected && Date.now() - Math.max(r.last, done.get(r.requestId)) > (+process.env.IDLE || 4000)) break;
      if (Date.now() - r.begun > 200000) break;
    }
    const got = Buffer.concat(r.text).toString();
    const numbers = got.split('é ').slice(0, -1).map((s) => s);
    const seen = numbers.map(Number);
    let dup = false, gaps = 0, prev = -1, garbled = numbers.some((s) => !/^\d{5}$/.test(s));
    for (const n of seen) { if (n <= prev) dup = true; else if (n !== prev + 1) gaps += 1; prev = n; }
    if (prev !== COUNT - 1) gaps += 1;
    if (!dup && gaps) { const have = new Set(seen); const runs = []; let run = 0; for (let i = 0; i < COUNT; i += 1) { if (!have.has(i)) run += 1; else { if (run) runs.push(run); run = 0; } } if (run) runs.push(`tail${run}`); (stats.runs ??= []).push(`${r.target.slice(-1)}${transport[0]}:${runs.join('+')}/${r.breaks}`); if (process.env.SHOW) console.log('GAPPED', JSON.stringify({id, transport, t: r.target, breaks: r.breaks, at: r.at, acks: r.acks, n: seen.length, age: Date.now()-r.begun, log: r.log.slice(-6).join(' ')})); }
    const note = () => JSON.stringify({ id, transport, r: r.requestId, target: r.target, breaks: r.breaks, acks: r.acks, error: r.error, se: r.streamErrors, n: seen.length, prev, gaps, dup, garbled, done: done.has(r.requestId), age: Date.now() - r.begun, t0: new Date(r.begun).toISOString(), sid: socket.io.engine?.id, log: r.log.slice(-60).join(' ') });
    if (r.error || r.acks.some((a) => a.startsWith('error'))) { stats.errors += 1; if (!EXTCHAOS) fails.push('ERR ' + note()); }
    else if (dup && !EXTCHAOS) { stats.dups += 1; fails.push('DUP ' + note()); }
    else if (garbled && !r.breaks && !EXTCHAOS) fails.push('GARBLED ' + note());
    else if (gaps > r.breaks && !EXTCHAOS) { fails.push('GAP ' + note()); }
    else if (Date.now() - r.begun > 200000) { stats.hangs += 1; fails.push('HANG ' + note()); }
    else if (gaps) stats.gaps += 1; else stats.whole += 1;
    await sleep(rnd(100));
  }
  current = null;
  return socket;
}
const report = setInterval(() => console.log(JSON.stringify(stats), fails.length), 10000);
const sockets = await Promise.all(ids.map(client));
chaos = false; clearInterval(report);
await sleep(2000);
for (const s of sockets) s.disconnect();
for (const e of extensions) e.stop();
await sleep(8000);
const m = await (await fetch(`${broker.url}/metrics`)).text();
console.log(JSON.stringify(stats)); console.log(fails.slice(0, 12).join('\n')); console.log('fails', fails.length); await (await import('node:fs/promises')).writeFile('/tmp/soak/broker.log', broker.log.join('\n'));
console.log(m.split('\n').filter((l) => l && !l.startsWith('#') && !/ 0$/.test(l)).join('\n'));
console.log(broker.log.filter((l) => /WARN|ERROR|panic/.test(l)).slice(0, 20).join('\n'));
const panics = broker.log.filter((l) => /panicked|ERROR/.test(l)); console.log('alarms', panics.length);
await broker.stop().catch((e) => console.log(e.message.slice(0, 500)));
process.exit(0);
