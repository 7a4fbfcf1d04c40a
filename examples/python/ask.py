import sys, time, uuid
import socketio

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:4000"
auth = {"clientType": "script", "clientId": "frontendExample", "key": "getKey"}
client, last = socketio.Client(), time.monotonic()

def read(stream):
    client.emit("$stream-read", (stream, 16384), namespace="/llm")

def announced(event, stream, info):
    read(stream["$stream"])

def written(stream, text, encoding):
    global last
    last = time.monotonic()
    print(text.decode(), end="", flush=True)
    read(stream)
    return ()  # the ack: without it nothing more comes

client.on("$stream", announced, namespace="/llm")
client.on("$stream-write", written, namespace="/llm")
client.on("message", lambda answer: print(answer["data"]), namespace="/llm")
client.on("ERROR", lambda error: print(error["message"]), namespace="/llm")

client.connect(url, auth=auth, namespaces=["/auth", "/llm"])
extensions = client.call("GET_SILLYTAVERN_EXTENSION", {}, namespace="/auth")["extensions"]
request = {"target": extensions[0], "requestId": str(uuid.uuid4()), "message": "Tell me a story."}
print(client.call("LLM_REQUEST", request, namespace="/llm"))
while time.monotonic() - last < 5:
    client.sleep(0.1)
client.disconnect()
