import queue, sys, uuid
import socketio

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:4000"
auth = {"clientType": "script", "clientId": "frontendExample", "key": "getKey"}
client = socketio.Client()
# What comes is printed by one thread: handlers run on others, several at a time.
texts = queue.Queue()

def read(stream):
    client.emit("$stream-read", (stream, 16384), namespace="/llm")

def announced(event, stream, info):
    read(stream["$stream"])

def written(stream, text, encoding):
    texts.put(text.decode())
    read(stream)
    return ()  # the ack: without it nothing more comes

client.on("$stream", announced, namespace="/llm")
client.on("$stream-write", written, namespace="/llm")
client.on("message", lambda answer: texts.put(answer["data"] + "\n"), namespace="/llm")
client.on("ERROR", lambda error: texts.put(error["message"] + "\n"), namespace="/llm")

client.connect(url, auth=auth, namespaces=["/auth", "/llm"])
extensions = client.call("GET_SILLYTAVERN_EXTENSION", {}, namespace="/auth")["extensions"]
request = {"target": extensions[0], "requestId": str(uuid.uuid4()), "message": "Tell me a story."}
print(client.call("LLM_REQUEST", request, namespace="/llm"))
try:
    while True:
        print(texts.get(timeout=5), end="", flush=True)
except queue.Empty:
    client.disconnect()
