"""What tests ask the simulators, and what those charge for it."""

import asyncio
from typing import Any

import httpx
import orjson

from infra.simulators import ProviderScript, RunningSimulators

FAST = ProviderScript(latency_ms=2.0, latency_sigma=0.0, output_tokens_mean=40.0)
ASK: dict[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}


async def ask(client: httpx.AsyncClient, provider: str = "alpha", **more: Any) -> httpx.Response:
    return await client.post(f"/{provider}/v1/chat/completions", json={**ASK, **more})


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


async def raw(port: int, body: dict[str, Any] = ASK) -> tuple[bytes, bool]:
    """(all bytes of the answer until the connection ends, whether it ended with a reset)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = orjson.dumps(body)
    writer.write(
        b"POST /alpha/v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
    )
    got = b""
    try:
        while block := await reader.read(65536):
            got += block
    except ConnectionResetError:
        return got, True
    finally:
        writer.close()
    return got, False


async def billed(simulators: RunningSimulators, count: int, provider: str = "alpha") -> dict[str, Any]:
    """The provider's sums, once `count` requests have ended."""
    async with asyncio.timeout(5):
        while simulators.bill()["providers"][provider]["requests"] < count:
            await asyncio.sleep(0)
    return dict(simulators.bill()["providers"][provider])
