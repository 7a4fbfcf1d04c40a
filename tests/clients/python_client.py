"""python-socketio against the broker: one transport, one dialect, one stream name, sync or async.

Usage: python_client.py URL sync|async websocket|polling|upgrade named|numeric STREAM_NAME EXTENSION < TEXTS

TEXTS is a JSON object: what the extension is asked for, and the text that must arrive. Prints one line per step that held, and ends with status 0 only if all did. The library is a plain
Socket.IO client: it knows nothing of node-socketio-stream, so the `$stream` dialogue of spec §5.5 is
answered by hand here.
"""

import asyncio
import inspect
import json
import sys
import threading
import uuid

import engineio
import socketio

AUTH = {"clientType": "script", "clientId": "python", "key": "getKey", "desc": "python-socketio"}
NAMESPACES = ["/auth", "/llm", "/clients", "/function_call"]
NUMERIC = {"LLM_REQUEST": 9, "FUNCTION_CALL": 22, "GET_CLIENT_KEY": 26, "GET_SILLYTAVERN_EXTENSION": 33}
# Without a choice the library starts with polling and upgrades.
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": None}
WAIT = 20


def check(name, ok, detail=None):
    if not ok:
        raise AssertionError(f"{name}: {detail!r}")
    print("held:", name, flush=True)


class Receiver:
    """The receiving side of node-socketio-stream: one read per write, every write acknowledged."""

    def __init__(self, listens_to):
        self.listens_to = listens_to
        self.open = {}
        self.text = {}
        self.ended = 0

    def announced(self, event, stream, info):
        """The read that asks for the first chunk, or nothing for a name that nobody listens to."""
        if event != self.listens_to:
            return None
        self.open[stream["$stream"]] = info
        return (stream["$stream"], 16384)

    def written(self, wire, chunk):
        """What the write is acknowledged with, and whether to ask for more."""
        if wire not in self.open:
            return [f"invalid stream id: {wire}"], False
        request = self.open[wire]["requestId"]
        self.text[request] = self.text.get(request, b"") + chunk
        return [], True

    def finished(self, wire):
        known = self.open.pop(wire, None) is not None
        self.ended += known
        return known


class InOrder(engineio.Client):
    """The library hands each packet to a thread of its own, so their order is luck, whatever the server does.
    Here the thread that reads them handles them.
    """

    def _trigger_event(self, event, *args, **kwargs):
        return super()._trigger_event(event, *args, **kwargs | {"run_async": False})


class SyncClient(socketio.Client):
    def _engineio_client_class(self):
        return InOrder


def name(event, numeric):
    return NUMERIC[event] if numeric else event


def run_sync(url, transport, numeric, receiver, make_steps):
    client = SyncClient(reconnection=False)
    inbox, changed = [], threading.Condition()
    keys = []

    def note(change):
        with changed:
            change()
            changed.notify_all()

    def on_stream(event, stream, info):
        read = receiver.announced(event, stream, info)
        if read:
            client.emit("$stream-read", read, namespace="/llm")

    def on_write(wire, chunk, encoding):
        result = []
        note(lambda: result.append(receiver.written(wire, chunk)))
        ack, more = result[0]
        if more:
            client.emit("$stream-read", (wire, 16384), namespace="/llm")
        return tuple(ack)

    def on_end(wire):
        known = []
        note(lambda: known.append(receiver.finished(wire)))
        if known[0]:
            client.emit("$stream-end", wire, namespace="/llm")

    client.on("$stream", on_stream, namespace="/llm")
    client.on("$stream-write", on_write, namespace="/llm")
    client.on("$stream-end", on_end, namespace="/llm")
    client.on("message", lambda data: note(lambda: inbox.append(data)), namespace="/llm")
    client.on(name("GET_CLIENT_KEY", numeric), lambda data: note(lambda: keys.append(data)), namespace="/auth")

    def until(what, condition):
        with changed:
            check(what, changed.wait_for(condition, WAIT), (receiver.text, inbox))

    auth = AUTH | {"dialect": "numeric" if numeric else "named"}
    client.connect(url, auth=auth, namespaces=NAMESPACES, transports=TRANSPORTS[transport], wait_timeout=WAIT)
    try:
        for step in make_steps(inbox, keys):
            kind, what, value = step
            if kind == "call":
                namespace, event, payload = what
                value(client.call(event, payload, namespace=namespace, timeout=WAIT))
            else:
                until(what, value)
        carried = "polling" if transport == "polling" else "websocket"
        check("transport", client.transport() == carried, client.transport())
        # Whoever disconnects while the library is posting says nothing of it to the server, and waits for a ping.
        client.eio.queue.join()
    finally:
        client.disconnect()


async def run_async(url, transport, numeric, receiver, make_steps):
    client = socketio.AsyncClient(reconnection=False)
    inbox, changed = [], asyncio.Condition()
    keys = []

    async def note(change):
        async with changed:
            result = change()
            changed.notify_all()
            return result

    async def on_stream(event, stream, info):
        read = receiver.announced(event, stream, info)
        if read:
            await client.emit("$stream-read", read, namespace="/llm")

    async def on_write(wire, chunk, encoding):
        ack, more = await note(lambda: receiver.written(wire, chunk))
        if more:
            await client.emit("$stream-read", (wire, 16384), namespace="/llm")
        return tuple(ack)

    async def on_end(wire):
        if await note(lambda: receiver.finished(wire)):
            await client.emit("$stream-end", wire, namespace="/llm")

    async def on_message(data):
        await note(lambda: inbox.append(data))

    async def on_key(data):
        await note(lambda: keys.append(data))

    client.on("$stream", on_stream, namespace="/llm")
    client.on("$stream-write", on_write, namespace="/llm")
    client.on("$stream-end", on_end, namespace="/llm")
    client.on("message", on_message, namespace="/llm")
    client.on(name("GET_CLIENT_KEY", numeric), on_key, namespace="/auth")

    async def until(what, condition):
        async with changed:
            try:
                await asyncio.wait_for(changed.wait_for(condition), WAIT)
            except TimeoutError:
                check(what, False, (receiver.text, inbox))
        check(what, True)

    auth = AUTH | {"dialect": "numeric" if numeric else "named"}
    await client.connect(url, auth=auth, namespaces=NAMESPACES, transports=TRANSPORTS[transport], wait_timeout=WAIT)
    try:
        for step in make_steps(inbox, keys):
            kind, what, value = step
            if kind == "call":
                namespace, event, payload = what
                value(await client.call(event, payload, namespace=namespace, timeout=WAIT))
            else:
                await until(what, value)
        carried = "polling" if transport == "polling" else "websocket"
        check("transport", client.transport() == carried, client.transport())
        await client.eio.queue.join()
    finally:
        await client.disconnect()


def steps(numeric, extension, texts, receiver, inbox, keys):
    """What both flavours do: ("call", (namespace, event, payload), judge) or ("until", name, condition)."""
    yield "until", "the key is pushed", lambda: bool(keys)
    check("key push", keys[0].get("clientId") == "python" and keys[0].get("key"), keys)

    def listed(ack):
        check("list of extensions", ack == {"status": "ok", "allTheSTSocket": [extension], "extensions": [extension]}, ack)

    event = name("GET_SILLYTAVERN_EXTENSION", numeric)
    # With a payload, with an empty one, and with none (spec §1.3).
    for payload in ({}, None, ()):
        yield "call", ("/auth", event, payload), listed

    def called(ack):
        result = ack.get("result", {})
        check("function call", ack.get("success") is True and result.get("success") is True, ack)
        check("own settings", result.get("result", {}).get("clientId") == "python", result)

    call = {
        "requestId": "python function",
        "functionName": "readJsonFromFile",
        "args": ["./settings/python-settings.json"],
        "target": "server",
    }
    yield "call", ("/function_call", name("FUNCTION_CALL", numeric), call), called

    def forwarded(ack):
        # The dialects word it differently (spec §4.4, §4.9.4).
        words = "Request forwarded." if numeric else "Request received."
        check("request forwarded", ack == {"status": "ok", "message": words}, ack)

    def ask(message, request):
        payload = {"target": extension, "requestId": request, "message": message}
        return "call", ("/llm", name("LLM_REQUEST", numeric), payload), forwarded

    for message, expected in texts.items():
        request = str(uuid.uuid4())
        yield ask(message, request)
        size = len(expected.encode())
        yield "until", f"{message}: the bytes arrive", lambda: len(receiver.text.get(request, b"")) >= size
        yield "until", f"{message}: every stream ends", lambda: receiver.ended > 0 and not receiver.open
        check(f"{message}: every byte, in order, once", receiver.text[request] == expected.encode(), receiver.text[request])

    # Read only now: what came too much during later requests shows as well.
    request = str(uuid.uuid4())
    yield ask("not streamed", request)
    yield "until", "the message arrives", lambda: any(m.get("requestId") == request for m in inbox)
    message = next(m for m in inbox if m["requestId"] == request)
    check("message", message["type"] == 0 and message["data"] == "not streamed" and message["source"] == "server", message)
    arrived = sorted(text.decode() for text in receiver.text.values())
    check("nothing came twice", arrived == sorted(texts.values()) and len(inbox) == 1, (arrived, inbox))

    def refused(ack):
        check("offline target", ack == {"status": "error", "message": "Target client not found: SillyTavern-9"}, ack)

    nobody = {"target": "SillyTavern-9", "requestId": str(uuid.uuid4()), "message": "hi"}
    yield "call", ("/llm", name("LLM_REQUEST", numeric), nobody), refused


def main():
    url, flavour, transport, dialect, stream_name, extension = sys.argv[1:]
    numeric, texts, receiver = dialect == "numeric", json.load(sys.stdin), Receiver(stream_name)

    def make_steps(inbox, keys):
        return steps(numeric, extension, texts, receiver, inbox, keys)

    run = {"sync": run_sync, "async": run_async}[flavour]
    outcome = run(url, transport, numeric, receiver, make_steps)
    if inspect.isawaitable(outcome):
        asyncio.run(outcome)
    print("all held", flush=True)


if __name__ == "__main__":
    main()
