// Calls functions: of an extension, and of the broker itself.
//   node function.mjs [URL] [EXTENSION]
import { io } from 'socket.io-client';

const url = process.argv[2] ?? 'http://localhost:4000';
const extension = process.argv[3] ?? 'SillyTavern-8000';
const clientId = 'frontendExample';
const socket = io(`${url}/function_call`, { auth: { clientType: 'script', clientId, key: 'getKey' } });

async function call(target, functionName, ...args) {
  // 22 is FUNCTION_CALL; the broker waits 30 s for the extension.
  const request = { requestId: crypto.randomUUID(), target, functionName, args };
  const { success, result, error } = await socket.emitWithAck(22, request);
  if (!success) throw new Error(error.message);
  return result;
}

const show = (name, promise) => promise.then((result) => console.log(name, JSON.stringify(result)), (error) => console.log(name, error.message));

// The extension.mjs beside this file has `add`.
await show('add:', call(extension, 'add', 2, 3));
await show('missing:', call(extension, 'nothing'));
await show('nobody:', call('SillyTavern-nowhere', 'add', 2, 3));

// The broker keeps JSON files for a client below data/<clientId>/. Its functions say `success` a second
// time, inside the result.
await show('save:', call('server', 'saveJsonToFile', `data/${clientId}/notes.json`, { text: '你好' }));
await show('read:', call('server', 'readJsonFromFile', `data/${clientId}/notes.json`));
await show('forbidden:', call('server', 'readJsonFromFile', 'keys/clients.json'));
socket.disconnect();
