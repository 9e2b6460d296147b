"""`python -m infra.bench.direct`: the same requests over HTTP, straight to a provider (the reference) or to a gateway."""

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from infra.bench.load import BODY
from infra.bench.marks import mark, report

HEADERS = {"authorization": "Bearer simulated", "content-type": "application/json"}


@dataclass
class Caller:
    """Calls one URL. `took_ms`: of every call that was answered with 2xx, in the order of their ends."""

    client: httpx.AsyncClient
    url: str
    content: bytes
    headers: Mapping[str, str]
    took_ms: list[float] = field(default_factory=list)
    errors: int = 0

    async def call(self) -> None:
        started = time.perf_counter()
        try:
            response = await self.client.post(self.url, content=self.content, headers=self.headers)
            response.raise_for_status()
            response.json()
        except (httpx.HTTPError, ValueError):
            self.errors += 1
            return
        self.took_ms.append((time.perf_counter() - started) * 1000)


async def at_rate(caller: Caller, rate: float, warm_up_s: float, seconds: float) -> list[float]:
    """Open loop; what the calls of the window took, in ms."""
    loop = asyncio.get_running_loop()
    begin, total = round(rate * warm_up_s), round(rate * (warm_up_s + seconds))
    calls: set[asyncio.Task[None]] = set()
    started = loop.time()
    for number in range(total):
        if number == begin:
            await asyncio.gather(*calls)
            caller.took_ms.clear()
            started = loop.time() - number / rate
            mark("start")
        if (wait := started + number / rate - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(caller.call())
        calls.add(task)
        task.add_done_callback(calls.discard)
    mark("end", requests=total - begin)
    await asyncio.gather(*calls)
    return caller.took_ms


async def in_flight(caller: Caller, count: int, warm_up_s: float, seconds: float) -> list[float]:
    """Closed loop of `count` callers; what the calls of the window took, in ms."""

    async def repeat() -> None:
        while True:
            await caller.call()

    callers = [asyncio.create_task(repeat()) for _ in range(count)]
    await asyncio.sleep(warm_up_s)
    caller.took_ms.clear()
    mark("start")
    await asyncio.sleep(seconds)
    mark("end", requests=len(caller.took_ms))
    took_ms = list(caller.took_ms)
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    return took_ms


async def main(given: argparse.Namespace) -> None:
    headers = HEADERS | dict(header.split("=", 1) for header in given.header)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        transport=AiohttpTransport(limits=limits), trust_env=False, timeout=30, limits=limits
    ) as client:
        caller = Caller(client, given.url, BODY.replace(b'"auto"', f'"{given.model}"'.encode()), headers)
        if given.in_flight:
            took_ms = await in_flight(caller, given.in_flight, given.warm_up, given.seconds)
        else:
            took_ms = await at_rate(caller, given.rate, given.warm_up, given.seconds)
    report({"errors": caller.errors, "took_ms": took_ms})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.bench.direct", description="Call a provider or a gateway.")
    parser.add_argument("--url", required=True, help="the whole URL of chat completions")
    parser.add_argument("--model", default="sim-mini")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second, open loop")
    parser.add_argument("--in-flight", type=int, default=0, help="closed loop with this many requests instead")
    parser.add_argument("--warm-up", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    uvloop.run(main(parser.parse_args()))
