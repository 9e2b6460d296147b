"""A SQL door over a real engine for tests: doors live on a loop in a thread of their own, and one way to ask them."""

import asyncio
import contextlib
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect

from infra.sql import Account, Engine, RunningDoor, start_door


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class Site:
    engine: Engine
    door: RunningDoor
    locked: RunningDoor

    def ask(
        self,
        sql: str = "",
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        locked: bool = False,
        path: str = "/",
        method: str | None = None,
        extra: Mapping[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        query = urllib.parse.urlencode(({"query": sql} if sql else {}) | fields | dict(extra or {}))
        base = (self.locked if locked else self.door).url
        request = urllib.request.Request(
            f"{base}{path}{'?' + query if query else ''}", body, headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def client(self) -> clickhouse_connect.driver.client.Client:
        return clickhouse_connect.get_client(host=self.door.host, port=self.door.port, database="turnout")


@contextlib.contextmanager
def running_site(path: Path, users: Mapping[str, Account]) -> Iterator[Site]:
    """An engine, an open door, and one for `users` alone."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with Engine(path) as engine:
        doors = [
            asyncio.run_coroutine_threadsafe(start_door(engine, port=0, **given), loop).result(30)
            for given in ({}, {"users": users})
        ]
        yield Site(engine, *doors)
        for door in doors:
            asyncio.run_coroutine_threadsafe(door.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextlib.contextmanager
def small_site(path: Path) -> Iterator[Site]:
    """Two small tables, a view, and a database that nobody may read."""
    with running_site(path, {"ana": Account("p:w"), "default": Account("other")}) as site:
        for statement in SMALL:
            site.engine.execute(statement)
        yield site


SMALL = (
    "CREATE TABLE turnout.events (id UInt64, tenant String) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO turnout.events SELECT number, toString(number % 3) FROM numbers(1000)",
    "CREATE VIEW turnout.tenants AS SELECT tenant, count() AS n FROM turnout.events GROUP BY tenant",
    "CREATE DATABASE secret",
    "CREATE TABLE secret.keys (k String) ENGINE = MergeTree ORDER BY k",
    "INSERT INTO secret.keys VALUES ('TOP-SECRET')",
)
