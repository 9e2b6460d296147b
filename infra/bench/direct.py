"""`python -m infra.bench.direct`: the reference, the same requests straight to a provider by httpx on aiohttp."""

import argparse
import asyncio
import time

import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from infra.bench.load import BODY
from infra.bench.marks import mark, report


async def main(given: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    begin, total = round(given.rate * given.warm_up), round(given.rate * (given.warm_up + given.seconds))
    took_ms: list[float] = []
    errors = 0
    headers = {"authorization": "Bearer simulated", "content-type": "application/json"}
    content = BODY.replace(b'"auto"', b'"sim-mini"')

    async def call(counted: bool) -> None:
        nonlocal errors
        started = time.perf_counter()
        try:
            response = await client.post(given.url, content=content, headers=headers)
            response.raise_for_status()
            response.json()
        except httpx.HTTPError:
            errors += 1
            return
        if counted:
            took_ms.append((time.perf_counter() - started) * 1000)

    async with httpx.AsyncClient(transport=AiohttpTransport(), trust_env=False, timeout=30) as client:
        calls: set[asyncio.Task[None]] = set()
        started = loop.time()
        for number in range(total):
            if number == begin:
                mark("start")
            if (wait := started + number / given.rate - loop.time()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(call(number >= begin))
            calls.add(task)
            task.add_done_callback(calls.discard)
        mark("end", requests=total - begin)
        await asyncio.gather(*calls)
    report({"errors": errors, "took_ms": took_ms})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.bench.direct", description="Call a provider directly.")
    parser.add_argument("--url", required=True, help="the whole URL of chat completions")
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--warm-up", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    uvloop.run(main(parser.parse_args()))
