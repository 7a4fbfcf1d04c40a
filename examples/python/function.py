"""Calls functions: of an extension, and of the broker itself.

    python function.py [URL] [EXTENSION]
"""
import sys
import uuid

import socketio

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:4000"
extension = sys.argv[2] if len(sys.argv) > 2 else "SillyTavern-8000"
client_id = "frontendExample"
client = socketio.Client()


def call(target, name, *args):
    request = {"requestId": str(uuid.uuid4()), "target": target, "functionName": name, "args": list(args)}
    answer = client.call("FUNCTION_CALL", request, namespace="/function_call")
    return answer["result"] if answer["success"] else answer["error"]["message"]


client.connect(url, auth={"clientType": "script", "clientId": client_id, "key": "getKey"}, namespaces=["/function_call"])
print("add:", call(extension, "add", 2, 3))  # of examples/javascript/extension.mjs
print("missing:", call(extension, "nothing"))
print("nobody:", call("SillyTavern-nowhere", "add", 2, 3))
print("save:", call("server", "saveJsonToFile", f"data/{client_id}/notes.json", {"text": "你好"}))
print("read:", call("server", "readJsonFromFile", f"data/{client_id}/notes.json"))
client.disconnect()
