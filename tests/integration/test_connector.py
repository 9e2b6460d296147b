"""A burst of calls opens so many connections at once: whoever waits is not late, unless nobody gets through."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from peer import GOOD, TLS, message, peer, says

from agents.execution.connector import PacedConnector


class Names(AbstractResolver):
    """Every name is this machine, after `seconds` (None: never). Counts look-ups under way."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.under_way = self.most = self.begun = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> Any:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.seconds is None:
                await asyncio.Event().wait()
            else:
                await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing to close."""


async def burst(names: Names, port: int, *, calls: int, handshakes: int, limit_s: float) -> list[int | BaseException]:
    """The status, or the error, of calls that begin together, each to a name of its own."""

    async def one(number: int) -> int:
        timeout = aiohttp.ClientTimeout(sock_connect=limit_s)
        async with session.post(f"http://h{number}.test:{port}/", data=b"{}", timeout=timeout) as answer:
            await answer.read()
            return answer.status

    connector = PacedConnector(TLS, 4.0, handshakes=handshakes, resolver=names)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        return await asyncio.gather(*map(one, range(calls)), return_exceptions=True)


async def test_who_waits_for_a_turn_is_not_late_while_others_get_through() -> None:
    names = Names(1.0)
    async with peer(says(message(200, GOOD))) as here:
        # The last waits for twelve seconds, three times its limit.
        found = await burst(names, here.port, calls=26, handshakes=2, limit_s=4.0)
    assert found == [200] * 26
    assert (names.most, names.begun) == (2, 26)


async def test_where_nobody_gets_through_nobody_waits_longer_than_a_handshake() -> None:
    names = Names(None)
    # One at a time, 40 handshakes of this limit would take longer than the test may.
    async with asyncio.timeout(30):
        found = await burst(names, 9, calls=40, handshakes=1, limit_s=1.0)
    assert {type(one) for one in found} == {aiohttp.ConnectionTimeoutError}


@pytest.mark.parametrize("seconds", [0.0, None])
async def test_a_turn_is_given_back(seconds: float | None) -> None:
    names = Names(seconds)
    async with peer(says(message(200, GOOD))) as here:
        connector = PacedConnector(TLS, 4.0, handshakes=1, resolver=names)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            for number in range(3):
                timeout = aiohttp.ClientTimeout(sock_connect=0.05 if seconds is None else 5.0)
                try:
                    await (
                        await session.post(f"http://h{number}.test:{here.port}/", data=b"{}", timeout=timeout)
                    ).read()
                except aiohttp.ConnectionTimeoutError:
                    assert seconds is None
    assert names.begun == 3
