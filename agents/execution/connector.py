"""Connections to one provider, so many being opened at once: a burst must not time out on its own handshakes."""

import asyncio
import ssl
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

# 700 requests that had waited for a broker opened 700 connections in one moment: each handshake shared the processor with
# all others, none was done within its two seconds, and the circuits of healthy providers opened.
HANDSHAKES = 64


class PacedConnector(aiohttp.TCPConnector):
    """`sock_connect` of a call's timeout bounds its handshake, name look-up included, from its turn on.

    Whoever waits for a turn waits while connections are being made, and at most as long as a handshake otherwise: calls to a
    server that does not answer fail no later than they would by themselves. A timeout is a TimeoutError.
    """

    def __init__(
        self, tls: ssl.SSLContext, keepalive_s: float, *, handshakes: int = HANDSHAKES,
        resolver: AbstractResolver | None = None,
    ) -> None:  # fmt: skip
        # limit 0: how many calls run at once is the router's decision; a hidden queue here would look like a slow provider.
        super().__init__(ssl=tls, limit=0, keepalive_timeout=keepalive_s, ttl_dns_cache=30, resolver=resolver)
        self._turns = asyncio.Semaphore(handshakes)
        self._made_at = 0.0

    async def _create_connection(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:
        limit_s = timeout.sock_connect
        assert limit_s is not None
        await self._turn(limit_s)
        try:
            async with asyncio.timeout(limit_s):
                made = await super()._create_connection(req, traces, timeout)
            self._made_at = asyncio.get_running_loop().time()
            return made
        finally:
            self._turns.release()

    async def _turn(self, limit_s: float) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        while True:
            try:
                async with asyncio.timeout_at(max(started, self._made_at) + limit_s):
                    await self._turns.acquire()
                    return
            except TimeoutError:
                if max(started, self._made_at) + limit_s <= clock():
                    raise
