"""The client under the conformance kit: node ../conformance/bin.mjs -- venv/bin/python conformance.py"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tokengate_client import Client, FileStorage, RefreshUnavailable


class Subject:
    client: Client

    async def start(self, gateway: str, storage: str, leeway: float) -> dict[str, Any]:
        self.client = Client(gateway, FileStorage(Path(storage) / "session.json"), leeway=leeway)
        return {"storage": "shared"}

    async def login(self, **credentials: str) -> dict[str, Any]:
        await self.client.login(credentials)
        return {"status": 200}

    async def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        arguments = {} if body is None else {"json": body}
        try:
            return {"status": (await self.client.request(method, path, **arguments)).status_code}
        except RefreshUnavailable as unavailable:
            return {"error": str(unavailable)}

    async def logout(self) -> dict[str, Any]:
        await self.client.logout()
        return {}

    async def state(self) -> dict[str, Any]:
        return {"state": "signed-in" if self.client.is_signed_in else "signed-out"}


async def main() -> None:
    subject = Subject()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()
    async for line in reader:
        task = asyncio.create_task(respond(subject, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def respond(subject: Subject, command: dict[str, Any]) -> None:
    identity, name = command.pop("id"), command.pop("do")
    try:
        result = await getattr(subject, name)(**command)
    except Exception as error:
        result = {"error": repr(error)}
    print(json.dumps({"id": identity, **result}), flush=True)


asyncio.run(main())
