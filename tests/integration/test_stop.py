"""A worker that is told to end while a provider does not answer: it drains, goes, and the next one runs the request."""

import signal
from pathlib import Path

from loop import Bench, catalog, chat, prepared, settings_for
from processes import HeldProvider, WorkerProcess

from infra.kafka import EmbeddedKafka

HELD = "Wait for it."


async def test_a_call_that_outlives_the_drain_holds_nobody(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    provider = HeldProvider()
    provider.held.add(HELD)
    async with provider.serving():
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}),
            worker={"drain_s": 1, "session_timeout_s": 6},
        ))  # fmt: skip
        first = await WorkerProcess(settings, tmp_path, "first").start()
        async with Bench(settings) as bench:
            try:
                await bench.publish(chat(HELD), request_id="held")
                await bench.until(lambda: provider.waiting[HELD] == 1)
                first.signal(signal.SIGTERM)
                assert await first.ended() == 0
            finally:
                first.signal(signal.SIGKILL)
            second = await WorkerProcess(settings, tmp_path, "second").start()
            try:
                await bench.until(lambda: provider.calls[HELD] == 2)
                await provider.release()
                answer = await bench.answer_of("held")
            finally:
                second.signal(signal.SIGKILL)
            answers = await bench.records(bench.topics.requests[0].responses)
    assert answer["routing"]["status"] == "ok"
    assert len(answers) == 1
