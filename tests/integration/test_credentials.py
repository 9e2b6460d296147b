"""Several credentials of a deployment on the loop: the next one where one is refused, rotation, release by a command."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from loop import Bench, catalog, chat, prepared, running, settings_for
from peer import GOOD, message, peer

from infra.kafka import EmbeddedKafka
from schemas.codec import Codec
from schemas.events import AttemptFailed, CredentialReleased
from streams.apply import publish_control
from streams.clock import BrokerClock

REFUSALS = {
    401: b'{"error": {"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}}',
    429: b'{"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}',
}


async def test_refused_rotated_and_released(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECOND_KEY", "second")
    file = tmp_path / "key"
    file.write_text("first\n")
    refused = {"first": 401}
    used: list[str] = []

    async def reply(writer: asyncio.StreamWriter) -> None:
        head = here.heads[-1].decode().lower()
        used.append(head.split("bearer ")[1].split("\r\n")[0])
        status = refused.get(used[-1], 200)
        writer.write(message(status, REFUSALS.get(status, GOOD)))

    async with peer(reply) as here:
        document = catalog(here.base_url, {"a": "primary"})
        document["deployments"][0]["api_key"] = [f"file:{file}", "env:SECOND_KEY"]
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        async with Bench(settings) as bench, running(settings) as worker:

            async def asked(name: str) -> tuple[list[str], dict[str, Any]]:
                used.clear()
                await bench.publish(chat(), request_id=name)
                return used, (await bench.answer_of(name))["routing"]

            keys, routing = await asked("moves-on")
            assert (keys, routing["status"]) == (["first", "second"], "ok")
            assert [attempt.get("failure") for attempt in routing["attempts"]] == ["authentication", None]
            keys, routing = await asked("stays-there")
            assert (keys, routing["status"]) == (["second"], "ok")

            refused["second"] = 429
            keys, routing = await asked("nobody-left")
            assert (keys, routing["status"]) == (["second"], "error")
            assert worker.live.out_of_service == {"a": "quota_exhausted"}

            file.write_text("third\n")
            await bench.until(lambda: not worker.live.out_of_service)
            keys, routing = await asked("rotated")
            assert (keys, routing["status"]) == (["third"], "ok")

            refused["third"] = 401
            keys, routing = await asked("out-again")
            assert (keys, routing["status"]) == (["third"], "error")
            keys, routing = await asked("left-alone")
            assert (keys, routing["status"]) == ([], "error")
            del refused["third"]
            clock = BrokerClock()
            released = CredentialReleased(
                event_id="credential/a", occurred_at=clock.now(), worker="", deployment="a", author="test"
            )
            await publish_control(settings, Codec(), clock, [released])
            await bench.until(lambda: not worker.live.out_of_service)
            keys, routing = await asked("released")
            assert (keys, routing["status"]) == (["third"], "ok")
            failures = [event for event in await bench.events("attempts") if isinstance(event, AttemptFailed)]
    assert [(event.failure, event.next_action) for event in failures] == [
        ("authentication", "same"), ("quota_exhausted", "none"), ("authentication", "none"),
    ]  # fmt: skip
    assert not any(event.counts_toward_circuit for event in failures)
