// A room with two members: what one asks, both read, the answer too.
//   node room.mjs [URL]
import { io } from 'socket.io-client';

const url = process.argv[2] ?? 'http://localhost:4000';
const room = `tea-${crypto.randomUUID().slice(0, 8)}`;

/** The sockets of one member. Two instances of a client differ in `identity`. */
function join(clientId, identity) {
  const auth = { clientType: 'script', clientId, identity, key: 'getKey', dialect: 'named' };
  const [rooms, llm] = ['/rooms', '/llm'].map((namespace) => io(url + namespace, { auth, forceNew: true }));
  const ask = async (socket, event, payload) => {
    const ack = await socket.emitWithAck(event, payload);
    if (ack.status === 'error') throw new Error(`${event}: ${ack.message}`);
    return ack;
  };
  return {
    identity,
    llm,
    rooms: (event, payload) => ask(rooms, event, { roomName: room, ...payload }),
    chat: (event, payload) => ask(llm, event, payload),
    ready: Promise.all([rooms, llm].map((socket) => new Promise((resolve) => socket.once('connect', resolve)))),
    leave: () => [rooms, llm].forEach((socket) => socket.disconnect()),
  };
}
/** The next event of this room that is wanted. A member hears of all its rooms. */
const next = (socket, event, accepts) =>
  new Promise((resolve) => {
    socket.on(event, function listener(payload) {
      if (payload.roomName === room && accepts(payload)) resolve(socket.off(event, listener) && payload);
    });
  });

// Only an administrator makes rooms; it becomes the master of those that it makes.
const host = join('monitor', 'monitor');
const anna = join('frontendExample', 'frontendExample-anna');
const ben = join('frontendExample', 'frontendExample-ben');
await Promise.all([host.ready, anna.ready, ben.ready]);
await host.rooms('CREATE_ROOM');
await host.rooms('ADD_CLIENT_TO_ROOM', { identity: anna.identity, role: 'manager' });
await host.rooms('ADD_CLIENT_TO_ROOM', { identity: ben.identity });
const { clients } = await anna.rooms('GET_CLIENTS_IN_ROOM');
console.log('members:', clients.map(({ clientId, role }) => `${clientId} (${role})`).join(', '));

// Ben sees that Anna types.
const typing = next(ben.llm, 'MEMBER_STATUS_UPDATE', ({ status }) => status === 'typing');
anna.llm.emit('START_TYPING', { targetRoom: room });
console.log('typing:', (await typing).identity);
anna.llm.emit('STOP_TYPING', { targetRoom: room });

// HostSubmit: a guest's text waits until a host sends; then they go to the extension together.
await anna.rooms('SET_ROOM_MESSAGE_REQUEST_MODE', { mode: 'HostSubmit' });
const { extensions } = await anna.rooms('GET_CONNECTED_EXTENSIONS');
const say = (member, message) =>
  member.chat('LLM_REQUEST', { targetRoom: room, target: extensions[0], requestId: crypto.randomUUID(), message });
const answers = [anna, ben].map(({ llm }) => next(llm, 'NEW_MESSAGE', ({ message }) => message.isResponse));
await say(ben, 'I have a question.');
await say(anna, 'So do I.');
const [first, second] = (await Promise.all(answers)).map(({ message }) => message);
console.log('answer:', JSON.stringify(first.data));
console.log('the same for both:', first.messageId === second.messageId);

// The history comes in pages, oldest first.
const page = next(ben.llm, 'UPDATE_CONTEXT_PAGE', ({ isLastPage }) => isLastPage);
const { totalPages } = await ben.chat('GET_FULL_CONTEXT', { roomName: room });
const { contextPage } = await page;
console.log('pages:', totalPages, 'texts:', contextPage.filter((said) => said.fromClient).map((said) => said.message));

await host.rooms('DELETE_ROOM');
for (const member of [host, anna, ben]) member.leave();
