"""A room with two members: what one asks, both read, the answer too.

    python room.py [URL]
"""
import queue
import sys
import uuid

import socketio

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:4000"
room = f"tea-{uuid.uuid4().hex[:8]}"


class Member:
    """Two instances of a client differ in identity."""

    def __init__(self, client_id, identity):
        self.identity, self.heard, self.client = identity, queue.Queue(), socketio.Client()
        self.client.on("NEW_MESSAGE", self.hears, namespace="/llm")
        auth = {"clientType": "script", "clientId": client_id, "identity": identity, "key": "getKey", "dialect": "named"}
        self.client.connect(url, auth=auth, namespaces=["/rooms", "/llm"])

    def hears(self, event):
        if event["roomName"] == room:  # a member hears of all its rooms
            self.heard.put(event["message"])

    def ask(self, namespace, event, **payload):
        ack = self.client.call(event, payload, namespace=namespace)
        if ack["status"] == "error":
            raise RuntimeError(f"{event}: {ack['message']}")
        return ack

    def answer(self):
        """The next answer of an extension; what else is said is printed."""
        while True:
            message = self.heard.get()
            if message.get("isResponse"):
                return message["data"]
            print(f"{self.identity} reads {message['identity']}: {message.get('message') or message.get('data')}")


# Only an administrator makes rooms.
host = Member("monitor", "monitor")
anna = Member("frontendExample", "frontendExample-anna")
ben = Member("frontendExample", "frontendExample-ben")
host.ask("/rooms", "CREATE_ROOM", roomName=room)
for member in [anna, ben]:
    host.ask("/rooms", "ADD_CLIENT_TO_ROOM", roomName=room, identity=member.identity)

target = anna.ask("/rooms", "GET_CONNECTED_EXTENSIONS")["extensions"][0]
request = {"targetRoom": room, "target": target, "requestId": str(uuid.uuid4()), "message": "Hello, Ben!"}
anna.ask("/llm", "LLM_REQUEST", **request)
answer = ben.answer()
print("answer:", answer)
print("the same for both:", anna.answer() == answer)

host.ask("/rooms", "DELETE_ROOM", roomName=room)
for member in [host, anna, ben]:
    member.client.disconnect()
