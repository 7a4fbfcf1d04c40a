// A broker on socket.io and node-socketio-stream that does the work of the scenarios, correctly, and
// nothing else: no authentication, no limits, no history.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import ss from "@sap_oss/node-socketio-stream";
import { Server } from "socket.io";

const ROOM = "bench";
const http = createServer();
const io = new Server(http);

/** Sockets of extensions, the oldest first. */
const extensions = [];
/** Who has made a request, by its id. */
const open = new Map();
const ok = (message) => ({ status: "ok", message });
const failed = (message) => ({ status: "error", message });

const isExtension = (socket) => socket.data.id.startsWith("SillyTavern");

function admit(socket, next) {
  const { clientId } = socket.handshake.auth;
  if (typeof clientId !== "string" || clientId === "") return next(new Error("clientId is required."));
  socket.data.id = clientId;
  next();
}

io.of("/auth").use(admit).on("connection", (socket) => {
  socket.on(33, (_payload, ack) => {
    const ids = extensions.map((extension) => extension.data.id);
    ack({ status: "ok", allTheSTSocket: ids, extensions: ids });
  });
});

io.of("/llm").use(admit).on("connection", (socket) => {
  const { id } = socket.data;
  socket.data.streamed = [];
  socket.data.queue = [];
  if (isExtension(socket)) {
    socket.data.inbound = new Map();
    extensions.push(socket);
  } else {
    socket.join([id, ROOM]);
    ss(socket);
  }

  socket.on(9, (request, ack) => {
    const { target, requestId } = request;
    if (typeof target !== "string" || typeof requestId !== "string") return ack(failed("Invalid LLM request data."));
    const extension = extensions.findLast((other) => other.data.id === target);
    if (!extension) return ack(failed(`Target client not found: ${target}`));
    for (const old of socket.data.streamed.splice(0)) open.delete(old);
    open.set(requestId, socket);
    extension.emit(9, { ...request, clientId: id, source: id });
    ack(ok("Request forwarded."));
  });

  socket.on("message", (message) => {
    const requester = isExtension(socket) && open.get(message.requestId);
    if (!requester) return;
    open.delete(message.requestId);
    requester.emit("message", { ...message, source: "server" });
  });

  socket.on("LLM_REQUEST", (request, ack) => {
    const message = {
      ...request,
      clientId: id,
      source: id,
      messageId: randomUUID(),
      identity: id,
      timestamp: new Date().toISOString(),
      fromClient: true,
    };
    io.of("/llm").to(request.targetRoom).emit("NEW_MESSAGE", { roomName: request.targetRoom, message });
    ack(ok("Request received."));
  });

  socket.on("CLIENT_STREAM_START", ({ streamId, outputId, requestId }) => {
    const requester = open.get(requestId);
    if (!requester) return;
    requester.data.streamed.push(requestId);
    const outbound = announce(requester, { streamId, outputId, requestId, source: "server" });
    socket.data.inbound.set(streamId, { outbound, next: 0, waiting: new Map() });
  });

  for (const event of ["FIRST", "MIDDLE", "LAST"]) {
    socket.on(`CLIENT_STREAM_DATA_${event}`, ({ streamId, chunkIndex, data }) => {
      const stream = socket.data.inbound.get(streamId);
      if (!stream || chunkIndex < stream.next) return;
      stream.waiting.set(chunkIndex, data);
      while (stream.waiting.has(stream.next)) {
        const piece = stream.waiting.get(stream.next);
        stream.waiting.delete(stream.next++);
        write(stream.outbound, piece);
      }
    });
  }

  socket.on("CLIENT_STREAM_END", ({ streamId }) => {
    const stream = socket.data.inbound.get(streamId);
    if (!stream) return;
    socket.data.inbound.delete(streamId);
    for (const index of [...stream.waiting.keys()].sort((a, b) => a - b)) {
      write(stream.outbound, stream.waiting.get(index));
    }
    end(stream.outbound);
  });

  socket.on("disconnect", () => {
    const place = extensions.indexOf(socket);
    if (place >= 0) extensions.splice(place, 1);
    for (const [request, requester] of open) if (requester === socket) open.delete(request);
  });
});

// A client's streams are written one after the other, in the order of their announcement: streams are
// independent in the library, and chunks of two that are written at once come in any order.

function announce(requester, about) {
  const outbound = { requester, stream: ss.createStream(), pieces: [], ended: false };
  const { queue } = requester.data;
  outbound.stream.on("error", () => next(outbound));
  outbound.stream.on("finish", () => next(outbound));
  ss(requester).emit("streamed_data", outbound.stream, about);
  queue.push(outbound);
  return outbound;
}

function write(outbound, piece) {
  // An empty write would stop some readers for ever.
  if (piece === "") return;
  if (outbound.requester.data.queue[0] === outbound) outbound.stream.write(Buffer.from(piece));
  else outbound.pieces.push(piece);
}

function end(outbound) {
  outbound.ended = true;
  if (outbound.requester.data.queue[0] === outbound) outbound.stream.end();
}

/** A stream is over; the next one may begin. */
function next(over) {
  const { queue } = over.requester.data;
  if (queue[0] !== over) return;
  queue.shift();
  if (queue.length === 0) return;
  const [outbound] = queue;
  for (const piece of outbound.pieces.splice(0)) outbound.stream.write(Buffer.from(piece));
  if (outbound.ended) outbound.stream.end();
}

http.listen(0, "127.0.0.1", 4096, () => console.log(`listening on http://127.0.0.1:${http.address().port}`));
