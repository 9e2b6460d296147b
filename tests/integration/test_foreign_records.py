"""Somebody writes what is no event into the topics of the log: nothing stops, and the log is still the truth."""

import asyncio
from pathlib import Path

import orjson
from loop import Bench, catalog, chat, prepared, running, settings_for, write_settings

from infra.cli.main import run_command
from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from streams.replay import replay

KINDS = ("decisions", "attempts", "costs", "transitions", "state", "control", "feedback")
FOREIGN = (b"hello", b'{"a": 1}', None, b"\xff\xfe\x00")


# A record has a key or a value; a compacted topic takes none without a key.
RECORDS = [(key, value) for value in FOREIGN for key in (None, "k", "a:b:c") if key is not None or value is not None]


async def litter(bench: Bench, prefix: str) -> None:
    """Foreign bytes, and tombstones, into every partition of the log."""
    for kind in KINDS:
        for partition in range(1 if kind == "control" else 2):
            for key, value in RECORDS:
                if key is not None or kind != "state":
                    await bench.publish(value, topic=f"{prefix}{kind}", partition=partition, key=key)


async def test_what_is_no_event_stops_nobody(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary"})))
        config = str(write_settings(settings, tmp_path / "turnout.json"))
        async with Bench(settings) as bench:
            # Before anybody reads, while everybody does, and before somebody starts again.
            await litter(bench, prefix)
            async with running(settings):
                await bench.publish(chat(), request_id="first")
                await bench.answers(1)
                await litter(bench, prefix)
                await bench.publish(chat(), request_id="second")
                await bench.answers(2)
            async with running(settings):
                await bench.publish(chat(), request_id="third")
                answers = await bench.answers(3)
                async with asyncio.timeout(60):
                    # Of the first four kinds every foreign record is told; of feedback too.
                    while len(letters := await bench.records(f"{prefix}dead-letters")) < 5 * 2 * 2 * len(RECORDS):
                        await asyncio.sleep(0.2)
                for command in (["status", "--json"], ["explain", "third", "--json"], ["redecide"]):
                    assert await asyncio.to_thread(run_command, [*command, "--config", config]) == 0, command
            report = await replay(settings)
    assert [headers["turnout-status"] for _, headers in answers] == ["ok", "ok", "ok"]
    assert {orjson.loads(letter.value)["source"]["topic"] for letter in letters} == {
        f"{prefix}{kind}" for kind in ("decisions", "attempts", "costs", "transitions", "feedback")
    }
    assert report.equal
    assert not report.unproven
