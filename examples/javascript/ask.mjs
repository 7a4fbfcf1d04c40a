import { io } from 'socket.io-client';
import ss from '@sap_oss/node-socketio-stream';

const url = process.argv[2] ?? 'http://localhost:4000';
const auth = { clientType: 'script', clientId: 'frontendExample', key: 'getKey' };
const lobby = io(`${url}/auth`, { auth });
const llm = io(`${url}/llm`, { auth });

// Each token is a stream of its own, in order. An extension that does not stream sends one `message`.
const quiet = setTimeout(() => [lobby, llm].forEach((socket) => socket.disconnect()), 5_000);
const show = (text) => process.stdout.write(String(text)) && quiet.refresh();
ss(llm).on('streamed_data', (stream, info) => stream.on('data', show));
llm.on('message', ({ data }) => show(data));
llm.on(21, ({ message }) => show(`error: ${message}\n`));

// 33: which extensions are there? 9: a request for one of them. /lib/constants.js names the numbers.
const { extensions } = await lobby.emitWithAck(33, {});
const request = { target: extensions[0], requestId: crypto.randomUUID(), message: 'Tell me a story.' };
console.log(await llm.emitWithAck(9, request));
