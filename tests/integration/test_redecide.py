"""Decisions of a busy worker, of every strategy and balancer, made again from the log. `--decisions 5000` makes more."""

import asyncio
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from loop import Bench, catalog, chat, prepared, running, settings_for, write_settings

from agents.routing.balancers import BALANCERS
from agents.routing.strategies import STRATEGIES
from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from infra.supervisor import turnout

AT_ONCE = 100
TIERS = {"a": "primary", "b": "primary", "c": "primary", "d": "primary", "e": "secondary", "f": "local"}
SCRIPTS = {name: ProviderScript(latency_ms=3 + 4 * place) for place, name in enumerate(TIERS)}


def document_of(base_url: str) -> dict[str, Any]:
    """Two models in the first tier, one of them with three replicas and limits."""
    document = catalog(base_url, TIERS)
    document["models"].append(document["models"][0] | {"id": "sim-big", "quality": {"conversation": 0.9}})
    for place, deployment in enumerate(document["deployments"]):
        deployment["weight"] = 1 + place % 3
        deployment["limits"] = {"concurrency": 200, "tokens_per_minute": 50_000_000}
        if deployment["id"] in "de":
            deployment["model"] = "sim-big"
    return document


async def test_every_plan_follows_from_its_record(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--decisions")
    ways = list(product(STRATEGIES, BALANCERS, (None, "session")))
    async with await start_simulators(SCRIPTS) as simulators:
        document = document_of(simulators.base_url("a").replace("/a/", "/{name}/"))
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        path = write_settings(settings, tmp_path / "turnout.yaml")
        room = asyncio.Semaphore(AT_ONCE)
        async with Bench(settings) as bench, running(settings) as worker:

            async def one(number: int) -> None:
                strategy, balancer, session = ways[number % len(ways)]
                steering = {"strategy": strategy, "balancer": balancer, "fallback": number % 7 > 0}
                if session:
                    steering["session"] = f"{session}-{number % 50}"
                async with room:
                    await bench.publish(chat(f"Number {number}", **steering), request_id=f"r-{number}")
                    await bench.until(lambda: worker.tasks.completed + AT_ONCE > number, timeout_s=300)

            async with asyncio.TaskGroup() as load:
                for number in range(count):
                    load.create_task(one(number))
                    if number == count // 2:
                        # Circuits open and close under way, and a command changes what is in force.
                        simulators.control("a", "status_500")
                        await asyncio.to_thread(_set, path)
            await bench.until(lambda: worker.tasks.completed == count, timeout_s=300)
        process = await asyncio.create_subprocess_exec(
            *turnout("redecide", "--config", str(path), "--json"), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    found = orjson.loads(out)
    assert (process.returncode, found["differences"]) == (0, [])
    assert (found["decisions"], found["same"], found["partial"]) == (count, count, 0)


def _set(path: Path) -> None:
    subprocess.run(turnout("set", "strategy", "weighted", "--config", str(path)), check=True, capture_output=True)
