"""Worker processes under test, and a provider whose answers a test holds back."""

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from infra.ports import free_port
from infra.supervisor import Child, turnout
from streams.settings import Settings


class HeldProvider:
    """An OpenAI-compatible provider: a prompt in `held` is answered once it is released. Counts calls by prompt.

    `refusals`: deployment name of the path -> status and body that it answers instead.
    """

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.refusals: dict[str, tuple[int, bytes]] = {}
        self.calls: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.port = 0
        self._released = asyncio.Condition()

    async def release(self) -> None:
        self.held.clear()
        async with self._released:
            self._released.notify_all()

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        self.calls[prompt] += 1
        self.waiting[prompt] += 1
        async with self._released:
            await self._released.wait_for(lambda: prompt not in self.held)
        if (refusal := self.refusals.get(request.match_info["name"])) is not None:
            return web.Response(status=refusal[0], body=refusal[1], content_type="application/json")
        return web.json_response({
            "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": f"re: {prompt}"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        })  # fmt: skip

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["HeldProvider"]:
        app = web.Application()
        app.router.add_post("/{name}/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await self.release()
            await runner.cleanup()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{name}}/v1"


class WorkerProcess:
    """`turnout worker` as a process of its own, with a health page of its own."""

    def __init__(
        self, settings: Settings, folder: Path, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.web = free_port()
        config = folder / f"{name}.yaml"
        document = settings.model_dump(mode="json") | {"web": {"port": self.web}}
        config.write_text(_json(document))
        own = {"SIMULATED_KEY": "simulated", "PYTHONPATH": os.pathsep.join(sys.path)} | dict(environment or {})
        command = turnout("worker", "--config", str(config), "--verbose", *arguments)
        self.child = Child(name, command, folder / f"{name}.log", own)

    async def start(self) -> "WorkerProcess":
        """Returns once its apps own their partitions."""
        self.child.start()
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
            while True:
                assert self.child.running, self.child.log.read_text()[-2000:]
                with contextlib.suppress(httpx.HTTPError):
                    health = (await client.get(f"http://127.0.0.1:{self.web}/health")).json()
                    if health["leases"] and all(health["leases"].values()):
                        return self
                await asyncio.sleep(0.1)

    def signal(self, number: int) -> None:
        self.child.signal(number)

    async def ended(self, timeout_s: float = 30.0) -> int | None:
        return await asyncio.to_thread(self.child.wait, timeout_s)


def children(folder: Path) -> list[int]:
    """Processes that name the folder in their command line or their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.fsencode(folder) in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def gone(folder: Path) -> None:
    """Wait until no process names the folder."""
    async with asyncio.timeout(60):
        while children(folder):
            await asyncio.sleep(0.1)


def _json(document: dict[str, Any]) -> str:
    import orjson

    return orjson.dumps(document, default=sorted).decode()
