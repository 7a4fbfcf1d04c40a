"""Asks without a stream library: with streamMode "plain" text comes as ordinary events.

    python plain.py [URL] [QUESTION]
"""
import sys
import threading
import uuid

import socketio

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:4000"
question = sys.argv[2] if len(sys.argv) > 2 else "Tell me a story."
auth = {"clientType": "script", "clientId": "frontendExample", "key": "getKey", "dialect": "named", "streamMode": "plain"}
client = socketio.Client()


def ask(target, text):
    """Prints the answer while it is made, and returns how it ended."""
    request_id, over, outcome = str(uuid.uuid4()), threading.Event(), []

    def ended(how):
        outcome.append(how)
        over.set()

    def streamed(part):
        if part["requestId"] == request_id:
            print(part["data"], end="", flush=True)

    def kept(event):  # the broker has the whole answer
        said = event["message"]
        if said.get("isResponse") and said["requestId"] == request_id:
            ended(f"{len(said['data'])} characters")

    def failed(error):
        if error.get("requestId") == request_id:
            ended(f"error: {error['message']}")

    client.on("streamed_data", streamed, namespace="/llm")
    client.on("NEW_MESSAGE", kept, namespace="/llm")
    client.on("ERROR", failed, namespace="/llm")
    # A request that is not taken fails twice: as the ack, and as an ERROR.
    client.call("LLM_REQUEST", {"target": target, "requestId": request_id, "message": text}, namespace="/llm")
    over.wait()
    return outcome[0]


client.connect(url, auth=auth, namespaces=["/auth", "/llm"])
extensions = client.call("GET_SILLYTAVERN_EXTENSION", {}, namespace="/auth")["extensions"]
for target in [extensions[0], "SillyTavern-nowhere"]:
    print(f"\n({ask(target, question)})")
client.disconnect()
