"""Nothing lost, nothing twice when a worker dies: a commit never passes a request that has no answer."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest
from loop import Bench, catalog, chat, prepared, settings_for
from processes import HeldProvider, WorkerProcess

from infra.kafka import EmbeddedKafka


@pytest.mark.parametrize("held", [{0}, {0, 1}, {5}, {5, 6}, {5, 9}], ids=str)
async def test_held_requests_come_back_after_kill_9(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, held: set[int]
) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}))
        )
        provider.held = {f"prompt {number}" for number in held}
        async with Bench(settings) as bench:
            first = await WorkerProcess(settings, tmp_path, "first").start()
            try:
                for number in range(30):
                    await bench.publish(chat(f"prompt {number}"), request_id=f"r-{number}", partition=0)
                await bench.answers(30 - len(held))
                # The commit of what was answered is due every half second; two rounds of it are let through.
                await asyncio.sleep(1.2)
            finally:
                first.signal(signal.SIGKILL)
            await first.ended()
            await provider.release()
            second = await WorkerProcess(settings, tmp_path, "second").start()
            try:
                answers = await bench.answers(30)
                await asyncio.sleep(1.0)
                answers = await bench.answers(30)
            finally:
                second.signal(signal.SIGTERM)
            assert await second.ended() == 0
    counted = Counter(headers["request-id"] for _, headers in answers)
    assert counted == {f"r-{number}": 1 for number in range(30)}
    assert [body for body, headers in answers if headers["turnout-status"] != "ok"] == []
    again = {prompt for prompt, calls in provider.calls.items() if calls > 1}
    assert again == {f"prompt {number}" for number in held}
