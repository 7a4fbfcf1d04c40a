// The smallest extension: it answers requests with streams, and offers one function.
//   node extension.mjs [URL] [CLIENT-ID]      Ctrl-C stops it.
import { io } from 'socket.io-client';

const url = process.argv[2] ?? 'http://localhost:4000';
const clientId = process.argv[3] ?? 'SillyTavern-8000'; // the prefix makes it an extension
const auth = { clientType: 'SillyTavern', clientId, key: 'getKey', dialect: 'named' };
const refused = ({ message }) => console.error(`refused: ${message}`);

// 1. Who am I? The key of the answer opens every other namespace, also where networkSafe is false.
const door = io(`${url}/sillytavern`, { auth }).on('ERROR', refused);
const { key } = await door.emitWithAck('IDENTIFY_SILLYTAVERN', { clientId });
const options = { auth: { ...auth, key } };
const llm = io(`${url}/llm`, options).on('ERROR', refused);
const functions = io(`${url}/function_call`, options).on('ERROR', refused);

// 2. Requests come here, and wait: one answer at a time, in order.
let work = Promise.resolve();
llm.on('LLM_REQUEST', (request) => {
  work = work.then(() => answer(request));
});

async function answer({ requestId, message }) {
  if (message === 'fail') {
    llm.emit('ERROR', { type: 'ERROR', message: 'The model is out of order.', requestId });
    return;
  }
  // One stream is one answer. Its outputId groups streams, if an answer has more than one.
  const ids = { requestId, outputId: crypto.randomUUID(), streamId: crypto.randomUUID(), target: 'server' };
  const tokens = `You said: ${message} 你好 😀`.match(/\S+\s*/g);
  llm.emit('CLIENT_STREAM_START', { type: 1, ...ids });
  for (const [chunkIndex, data] of tokens.entries()) {
    const event = chunkIndex === 0 ? 'FIRST' : chunkIndex === tokens.length - 1 ? 'LAST' : 'MIDDLE';
    const type = { FIRST: 4, MIDDLE: 5, LAST: 6 }[event];
    llm.emit(`CLIENT_STREAM_DATA_${event}`, { type, ...ids, chunkIndex, data });
    await new Promise((resolve) => setTimeout(resolve, 20)); // a model takes its time
  }
  // `final` says that the answer is complete; without it the broker has to guess.
  llm.emit('CLIENT_STREAM_END', { type: 3, ...ids, final: true });
}

// 3. Functions that other programs may call. What is acked reaches the caller as it is.
functions.on('FUNCTION_CALL', ({ requestId, functionName, args }, ack) => {
  if (functionName === 'add') ack({ requestId, success: true, result: args[0] + args[1] });
  else ack({ requestId, success: false, error: { message: `Function "${functionName}" not found.` } });
});

await Promise.all([llm, functions].map((socket) => socket.connected || new Promise((resolve) => socket.once('connect', resolve))));
door.disconnect();
console.log(`${clientId} is ready`);
