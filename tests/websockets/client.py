"""Opens a WebSocket: address, path, token, then what to do. Says what came of each step."""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect

address, path, token, *steps = sys.argv[1:]


def say(what):
    print(json.dumps(what), flush=True)


async def main():
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with connect(
            f"ws://{address}{path}", additional_headers=fields, subprotocols=["chat"], max_size=64 << 20, compression="deflate"
        ) as socket:
            say({"subprotocol": socket.subprotocol})
            for step in steps:
                if step.isdigit():
                    sent = bytes(range(256)) * (int(step) // 256)
                    await socket.send(sent)
                    say({"whole": await socket.recv() == sent})
                elif step == "leave":
                    await socket.close()
                    say({"left": socket.close_code})
                    return
                elif step == "ping":
                    await (await socket.ping())
                    say({"pong": True})
                else:
                    await socket.send(step)
                    say({"came": await socket.recv()})
            # Until the other side ends it.
            await socket.recv()
    except websockets.exceptions.InvalidStatus as refused:
        say({"status": refused.response.status_code, "body": refused.response.body.decode()})
    except websockets.exceptions.ConnectionClosed as closed:
        frame = closed.rcvd
        say({"closed": None if frame is None else [frame.code, frame.reason]})


asyncio.run(main())
