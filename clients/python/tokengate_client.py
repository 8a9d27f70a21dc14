"""Keeps a Tokengate session alive: sends the access token, refreshes it, and knows what ends a session and what does not.

Use it so::

    async with Client("https://api.example.com", FileStorage("session.json")) as client:
        await client.login({"email": "ada@example.com", "password": "..."})
        orders = (await client.request("GET", "/api/orders")).json()
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol, Self

import httpx

__all__ = ["Client", "FileStorage", "MemoryStorage", "RefreshUnavailable", "Refused", "Session", "Storage"]

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_SECONDS_MAX = 60.0
BACKOFF_DOUBLINGS_MAX = 6
# No gateway asks for more; proxies may say anything.
RETRY_AFTER_SECONDS_MAX = 3600.0
LOGOUT_ATTEMPTS_MAX = 3
LOCK_POLL_SECONDS = 0.02


class RefreshUnavailable(Exception):
    """The session lives, but cannot be refreshed right now: the user need not log in again."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"cannot refresh now; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class Refused(Exception):
    """A login or logout that was refused."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"refused with {response.status_code}")
        self.response = response


@dataclass(frozen=True)
class Session:
    """What a login or a refresh granted."""

    login: str
    """Drawn by each login: what belongs to another one is not of this session."""
    access_token: str
    refresh_token: str
    generation: int
    expires_in: int
    received_at: float
    """By the device's clock, which is compared with itself alone."""

    def is_due(self) -> bool:
        """Whether the access token ends soon. A clock that was set back since says nothing: then the gateway does."""
        age = time.time() - self.received_at
        return age >= self.expires_in - min(60.0, self.expires_in / 4)


class Storage(Protocol):
    """Where the session is, for all who share it."""

    def read(self) -> Session | None: ...

    def write(self, session: Session | None) -> None: ...

    def locked(self, name: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Keeps out everyone else who shares the storage and locks the same name."""


class MemoryStorage:
    """For one client in one process."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._locks: dict[str, asyncio.Lock] = {}

    def read(self) -> Session | None:
        return self._session

    def write(self, session: Session | None) -> None:
        self._session = session

    @contextlib.asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield


class FileStorage:
    """A file that several processes of one user share. Only that user can read it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def read(self) -> Session | None:
        try:
            return Session(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, session: Session | None) -> None:
        if session is None:
            self._path.unlink(missing_ok=True)
            return
        # Whoever reads meanwhile gets the former whole or the new one.
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(session), file)
        new.replace(self._path)

    @contextlib.asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[None]:
        # Each has a description of its own, so tasks of one process keep each other out too. The kernel frees those of the dead.
        with open(self._path.with_name(f"{self._path.name}.{name}.lock"), "a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(LOCK_POLL_SECONDS)
            yield


class Client:
    """`leeway` is the gateway's `refresh.leeway` in seconds: a refresh is given up after a third of it."""

    def __init__(self, base_url: str, storage: Storage | None = None, *, leeway: float = 30.0) -> None:
        self._base = httpx.URL(base_url)
        self._storage = storage if storage is not None else MemoryStorage()
        self._refresh_timeout = leeway / 3
        self._http = httpx.AsyncClient()
        self._not_before = 0.0
        self._failures = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @property
    def is_signed_in(self) -> bool:
        return self._storage.read() is not None

    async def login(self, credentials: Mapping[str, Any], path: str = "/login") -> dict[str, Any]:
        """Sends credentials, signs in, and gives the API's response."""
        response = await self._http.post(self._base.join(path), json=dict(credentials))
        if not response.is_success:
            raise Refused(response)
        body = _object(response)
        session = _granted(body, uuid.uuid4().hex, None)
        if session is not None:
            async with self._storage.locked("write"):
                self._storage.write(session)
            self._failures, self._not_before = 0, 0.0
        return body

    async def logout(self) -> None:
        """Signs out here at once, then tells the gateway. Fails where it cannot be told."""
        async with self._storage.locked("write"):
            session = self._storage.read()
            self._storage.write(None)
        if session is None:
            return
        headers = {"authorization": f"Bearer {session.access_token}"}
        body = {"refreshToken": session.refresh_token}
        for attempt in range(1, LOGOUT_ATTEMPTS_MAX + 1):
            with contextlib.suppress(httpx.TransportError):
                response = await self._http.post(self._base.join("/logout"), headers=headers, json=body)
                if response.is_success:
                    return
                if attempt == LOGOUT_ATTEMPTS_MAX:
                    raise Refused(response)
            await asyncio.sleep(0.5 * attempt)
        raise ConnectionError("the gateway could not be told of the logout")

    async def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """As httpx's, with the access token. A request that is refused for its token is sent once more with a new one."""
        url = self._base.join(path)
        used = self._storage.read() if _origin(url) == _origin(self._base) else None
        if used is not None and used.is_due():
            # A token that cannot be refreshed now may do all the same: the response tells.
            with contextlib.suppress(RefreshUnavailable):
                used = await self._refreshed(used)
        response = await self._send(method, url, used, arguments)
        if used is None or not _refuses_token(response) or _is_one_shot(arguments.get("content")):
            return response
        now = await self._refreshed(used)
        # What one user asked must not be done in the name of another.
        if now is None or now.login != used.login or now == used:
            return response
        return await self._send(method, url, now, arguments)

    async def _send(
        self, method: str, url: httpx.URL, session: Session | None, arguments: dict[str, Any]
    ) -> httpx.Response:
        headers = httpx.Headers(arguments.get("headers"))
        if session is not None:
            headers["authorization"] = f"Bearer {session.access_token}"
        return await self._http.request(method, url, **{**arguments, "headers": headers})

    async def _refreshed(self, used: Session) -> Session | None:
        """The session with another token than the one that was used; `None` where it is over."""
        async with self._storage.locked("refresh"):
            session = self._storage.read()
            if session is None or session != used:
                return session
            wait = self._not_before - time.monotonic()
            if wait > 0:
                raise RefreshUnavailable(wait)
            response = await self._asked(session.refresh_token)
            if response is None:
                raise self._postponed(0.0)
            body = _object(response)
            new = _granted(body, session.login, session) if response.is_success else None
            if new is None and not _ends_session(response, body):
                raise self._postponed(_retry_after(response))
            return await self._settled(session, new)

    async def _asked(self, refresh_token: str) -> httpx.Response | None:
        """The response to a refresh; `None` where none came in time."""
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(self._refresh_timeout):
                url = self._base.join("/refresh")
                return await self._http.post(url, json={"refreshToken": refresh_token}, timeout=None)
        return None

    async def _settled(self, start: Session, new: Session | None) -> Session | None:
        self._failures, self._not_before = 0, 0.0
        async with self._storage.locked("write"):
            now = self._storage.read()
            # A login or logout of the user, or another process's newer token, goes before this response.
            if now is None or now.login != start.login:
                return now
            if now.generation > (new or start).generation:
                return now
            self._storage.write(new)
            return new

    def _postponed(self, retry_after: float) -> RefreshUnavailable:
        backoff = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_SECONDS_MAX) * random.uniform(0.5, 1.0)
        wait = max(backoff, min(retry_after, RETRY_AFTER_SECONDS_MAX))
        self._failures = min(self._failures + 1, BACKOFF_DOUBLINGS_MAX)
        self._not_before = time.monotonic() + wait
        return RefreshUnavailable(wait)


def _granted(body: dict[str, Any], login: str, former: Session | None) -> Session | None:
    """The session that a response grants; `None` where it has no tokens."""
    access_token, expires_in = body.get("accessToken"), body.get("expiresIn")
    # Without rotation the refresh token stays, and is not sent again.
    refresh_token = body.get("refreshToken", former and former.refresh_token)
    generation = body.get("generation", (former.generation if former else 0) + 1)
    if not isinstance(access_token, str) or not isinstance(refresh_token, str):
        return None
    if not isinstance(expires_in, int) or not isinstance(generation, int):
        return None
    return Session(login, access_token, refresh_token, generation, expires_in, time.time())


def _ends_session(response: httpx.Response, body: dict[str, Any]) -> bool:
    """Only the gateway's own word does: a proxy before it responds with 401 too."""
    return response.status_code == 401 and body.get("code") == "refresh_token_invalid"


def _refuses_token(response: httpx.Response) -> bool:
    challenge = response.headers.get("www-authenticate", "")
    return response.status_code == 401 and re.search(r'\berror="?invalid_token\b', challenge) is not None


def _retry_after(response: httpx.Response) -> float:
    """Seconds that `Retry-After` asks for (RFC 9110, section 10.2.3), in seconds or as a date."""
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_one_shot(content: object) -> bool:
    """Whether a body is gone once it was sent."""
    return not isinstance(content, (bytes, str, type(None)))
