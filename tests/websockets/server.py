"""An ASGI application behind hypercorn that speaks WebSockets, by HTTP/1.1 and by HTTP/2. Says its port, then how each one began and ended."""

import asyncio
import json
import socket

from hypercorn.asyncio import serve
from hypercorn.config import Config


def say(what):
    print(json.dumps(what), flush=True)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    path = scope["path"]
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    say({"began": path, "version": scope["http_version"], "fields": fields})
    await receive()
    if path.endswith("/refused"):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": "chat" if "chat" in scope["subprotocols"] else None})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            say({"ended": path, "code": event["code"]})
            return
        if event.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you like"})
        else:
            await send({"type": "websocket.send", **{kind: event[kind] for kind in ("text", "bytes") if event.get(kind) is not None}})


async def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = config.errorlog = None
    config.websocket_max_message_size = 64 << 20
    say(listener.getsockname()[1])
    await serve(application, config)


asyncio.run(main())
