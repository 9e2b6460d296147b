"""A provider made of one function that writes to a socket, and what a call to it needs."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from agents.execution.client import Caller
from agents.execution.outcome import Failed, Outcome
from schemas.catalog import Deployment

CANARY = "sk-canary-77aa31"
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "secret prompt"}], "max_tokens": 9}
GOOD = orjson.dumps({
    "id": "c-1", "object": "chat.completion", "model": "m-upstream",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
})  # fmt: skip
ERROR = orjson.dumps({"error": {"message": f"wrong key {CANARY}", "type": "server_error", "code": None}})

# Reading the authorities takes 0.1 s, so once for all tests.
TLS = httpx.create_ssl_context(trust_env=False)

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A provider made of one function that writes to the socket; it keeps the requests it read."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def peer(reply: Reply) -> AsyncIterator[Peer]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                here.heads.append(head)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                here.bodies.append(await reader.readexactly(length))
                await reply(writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            here.left.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    here = Peer(server.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        server.close()


def message(status: int, body: bytes = b"", headers: str = "", kind: str = "application/json") -> bytes:
    type_line = f"content-type: {kind}\r\n" if kind else ""
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{type_line}{headers}\r\n"
    return head.encode("latin-1") + body


def says(raw: bytes, *, close: bool = False) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if close:
            writer.close()

    return reply


def resets(raw: bytes) -> Reply:
    """Send this, wait until it is out, then reset."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return reply


async def hangs(writer: asyncio.StreamWriter) -> None:
    """No answer: the peer goes on reading, until the caller leaves."""


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Every read is in time, the whole never is."""
    writer.write(message(200, GOOD)[: -len(GOOD)])
    for byte in GOOD:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.05)


async def floods(writer: asyncio.StreamWriter) -> None:
    """A body without a length and without an end."""
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + bytes(65536) + b"\r\n"
    while not writer.is_closing():
        writer.write(block)
        await writer.drain()


def deployment(base_url: str, **more: Any) -> Deployment:
    limits = {"connect_s": 2.0, "first_byte_s": 5.0, "total_s": 10.0, **more.pop("timeouts", {})}
    return Deployment(
        **{
            "id": "d-1", "provider": "openai", "model": "m", "upstream_model": "m-upstream", "base_url": base_url,
            "api_key": "env:KEY", "timeouts": limits, **more,
        }
    )  # fmt: skip


async def call(caller: Caller, to: Deployment, *, within_s: float = 5.0, **more: Any) -> Outcome:
    deadline = asyncio.get_running_loop().time() + within_s
    return await caller.call(to, BODY, deadline=deadline, attempt_id="r-1/1", traceparent=None, **more)


async def failure_of(caller: Caller, reply: Reply, *, within_s: float = 5.0, **more: Any) -> Failed:
    async with peer(reply) as here:
        outcome = await call(caller, deployment(here.base_url, **more), within_s=within_s)
    assert isinstance(outcome, Failed)
    assert CANARY not in repr(outcome)
    assert "secret prompt" not in repr(outcome)
    return outcome
