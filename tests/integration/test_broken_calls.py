"""A call whose connection breaks leaves no frames to the cyclic collector."""

import asyncio
import gc
import ssl
from types import FrameType

import pytest

from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.execution.outcome import Failed
from schemas.catalog import Deployment

CALLS = 50


async def _broken_calls(*, stream: bool) -> int:
    """Frames that only the collector frees after CALLS calls, to a server that closes each connection in the middle."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        kind = b"text/event-stream" if stream else b"application/json"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: 100\r\n\r\n{" % kind)
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    deployment = Deployment.model_validate(
        {"id": "d", "provider": "openai_compatible", "model": "m", "base_url": f"http://127.0.0.1:{port}/v1"}
    )
    caller = Caller(Credentials(), tls=ssl.create_default_context())
    body = {"messages": [{"role": "user", "content": "hi"}]}

    async def call() -> None:
        deadline = asyncio.get_running_loop().time() + 10
        if stream:
            outcome = await caller.stream(
                deployment, body, deadline=deadline, attempt_id="t-0-0@0/1", on_delta=lambda _: None
            )
        else:
            outcome = await caller.call(deployment, body, deadline=deadline, attempt_id="t-0-0@0/1")
        assert isinstance(outcome, Failed)

    await call()
    gc.collect()
    for _ in range(CALLS):
        await call()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    left = sum(isinstance(each, FrameType) for each in gc.garbage)
    gc.garbage.clear()
    await caller.aclose()
    server.close()
    return left


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_call_leaves_no_frames(stream: bool) -> None:
    gc.disable()
    try:
        assert not asyncio.run(_broken_calls(stream=stream))
    finally:
        gc.enable()
