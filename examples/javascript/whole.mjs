// Asks, and waits for the whole answer or for the reason why there is none.
//   node whole.mjs [URL] [QUESTION]
import { io } from 'socket.io-client';

const url = process.argv[2] ?? 'http://localhost:4000';
const auth = { clientType: 'script', clientId: 'frontendExample', key: 'getKey', dialect: 'named' };
const lobby = io(`${url}/auth`, { auth });
const llm = io(`${url}/llm`, { auth });

/** Resolves with the text of the answer; rejects with what the broker or the extension says. */
function ask(target, message) {
  const requestId = crypto.randomUUID();
  return new Promise((resolve, reject) => {
    const settle = (how, value) => {
      llm.off('NEW_MESSAGE', heard).off('ERROR', failed);
      how(value);
    };
    // Every message of the room, requests too; the broker makes one of an answer when it is complete.
    const heard = ({ message: said }) => {
      if (said.isResponse && said.requestId === requestId) settle(resolve, said.data);
    };
    const failed = (error) => {
      if (error.requestId === requestId) settle(reject, new Error(error.message));
    };
    llm.on('NEW_MESSAGE', heard).on('ERROR', failed);
    // Not taken: the same message comes as the ack and as an ERROR.
    llm.emit('LLM_REQUEST', { target, requestId, message }, (ack) => {
      if (ack.status === 'error') settle(reject, new Error(ack.message));
    });
  });
}

// A refusal at the door: an ERROR, then the namespace is closed, and the library does not try again.
for (const socket of [lobby, llm]) {
  socket.on('ERROR', ({ message, requestId, code }) => requestId ?? console.error(`refused: ${message}`, code ?? ''));
  socket.on('disconnect', (reason) => reason === 'io server disconnect' && process.exit(1));
}

const { extensions } = await lobby.emitWithAck('GET_SILLYTAVERN_EXTENSION');
const questions = [
  [extensions[0], process.argv[3] ?? 'Tell me a story.'],
  ['SillyTavern-nowhere', 'Is anybody there?'],
];
for (const [target, question] of questions) {
  try {
    console.log(`answer: ${await ask(target, question)}`);
  } catch (error) {
    console.log(`error: ${error.message}`);
  }
}
lobby.disconnect();
llm.disconnect();
