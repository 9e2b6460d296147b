"""Somebody writes what is no event into the topics of the log: nothing stops, and the log is still the truth."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from loop import Bench, catalog, chat, prepared, running, settings_for, write_settings

from infra.cli.main import run_command
from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from streams.client import TurnoutClient
from streams.replay import replay

FOLDED = ("decisions", "attempts", "costs", "transitions", "feedback")
KINDS = (*FOLDED, "state", "control", "responses", "chunks", "dead-letters")
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


async def test_what_is_no_event_stops_nobody(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary"})))
        config = str(write_settings(settings, tmp_path / "turnout.json"))
        client = TurnoutClient(kafka.bootstrap_servers, prefix)
        async with Bench(settings) as bench, client:
            # Before anybody reads, while everybody does, and before somebody starts again.
            await litter(bench, prefix)
            async with running(settings):
                answers = [await client.chat(chat(), request_id="first")]
                await litter(bench, prefix)
                answers += [await client.chat(chat(), request_id="second")]
            async with running(settings):
                answers += [await client.chat(chat(), request_id="third")]
                letters: list[dict[str, Any]] = []
                async with asyncio.timeout(60):
                    # Of what is folded every foreign record is told.
                    while len(letters) < len(FOLDED) * 2 * 2 * len(RECORDS):
                        await asyncio.sleep(0.2)
                        records = await bench.records(f"{prefix}dead-letters")
                        letters = [
                            orjson.loads(r.value) for r in records if r.value is not None and b"reason" in r.value
                        ]
                behind: list[int] = [1]
                async with asyncio.timeout(60):
                    # What is passed over is behind nobody any more.
                    while any(behind):
                        capsys.readouterr()
                        assert await asyncio.to_thread(run_command, ["status", "--json", "--config", config]) == 0
                        behind = [row["lag"] for row in orjson.loads(capsys.readouterr().out)["lag"]]
                for command in (
                    ["status", "--json"],
                    ["explain", "third", "--json"],
                    ["redecide"],
                    ["dead-letters", "list"],
                ):
                    assert await asyncio.to_thread(run_command, [*command, "--config", config]) == 0, command
            report = await replay(settings)
    assert [answer["routing"]["status"] for answer in answers] == ["ok", "ok", "ok"]
    assert {letter["source"]["topic"] for letter in letters} == {f"{prefix}{kind}" for kind in FOLDED}
    assert report.equal
    assert not report.unproven
