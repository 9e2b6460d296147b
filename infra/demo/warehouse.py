"""What SQL says about a run: waited for, then asked."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from infra.cli.sql import ask
from projections.clickhouse.queries import QUERIES
from schemas.units import MICROS_PER_S
from streams.settings import Settings

POLL_S = 0.25
COMPLETED = "SELECT count() AS n FROM turnout.requests WHERE completed"
DRIFT = "SELECT count() AS n FROM turnout.drift"
COUNTS = """
    SELECT topic, count() AS n FROM turnout.events
    WHERE offset < {ends:Map(String, Int64)}[concat(topic, '-', toString(partition))] GROUP BY topic"""
DEPLOYMENTS = """
    SELECT if(deployment = '', '(error)', deployment) AS deployment, tier, count() AS requests,
        countIf(fallback) AS by_fallback, round(quantile(0.5)(latency_ms), 1) AS p50_ms,
        round(quantile(0.95)(latency_ms), 1) AS p95_ms, sum(cost_usd) AS cost_usd
    FROM turnout.requests WHERE completed GROUP BY deployment, tier
    ORDER BY indexOf(['primary', 'secondary', 'emergency', 'local'], tier), deployment"""
TRANSITIONS = """
    SELECT deployment, status, epoch, reason, at FROM turnout.circuit_transitions
    ORDER BY deployment, epoch"""
Rows = list[dict[str, Any]]


async def rows(settings: Settings, statement: str, **parameters: str) -> Rows:
    """The answer as one mapping a row; 64-bit integers become numbers. Raises OperationError."""
    answer = await asyncio.to_thread(ask, settings, statement, "JSONCompact", parameters)
    document = answer.json()
    columns = [(column["name"], _reader(column["type"])) for column in document["meta"]]
    return [
        {name: read(cell) for (name, read), cell in zip(columns, row, strict=True)} for row in document["data"]
    ]  # fmt: skip


def _reader(kind: str) -> Callable[[Any], Any]:
    if kind.startswith(("Int", "UInt")):
        return int
    return (lambda cell: None if cell is None else float(cell)) if "Decimal" in kind or "Float" in kind else lambda c: c


async def wait_completed(settings: Settings, requests: int, deadline: float) -> int:
    """How many requests SQL knows as completed: all of them, or what there is at the deadline (loop time)."""
    while True:
        found: int = (await rows(settings, COMPLETED))[0]["n"]
        if found >= requests or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(POLL_S)


async def wait_counts(
    settings: Settings, ends: dict[str, int], wanted: dict[str, int], deadline: float
) -> dict[str, int]:
    """Events in SQL by topic, below these offsets: as wanted, or what there is at the deadline (loop time)."""
    bounds = json.dumps(ends).replace('"', "'")
    while True:
        found = {row["topic"]: row["n"] for row in await rows(settings, COUNTS, ends=bounds)}
        if found == wanted or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(POLL_S)


async def tables(settings: Settings, since: int) -> dict[str, Rows]:
    """What a person would ask after a run. `since`: microseconds."""
    moment = datetime.fromtimestamp(since / MICROS_PER_S, UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return {
        "summary": await rows(settings, QUERIES["summary"], since=f"{moment:%Y-%m-%d %H:%M:%S.%f}"),
        "deployments": await rows(settings, DEPLOYMENTS),
        "provider_health": await rows(settings, QUERIES["provider_health"], minutes="10"),
        "tenant_costs": await rows(settings, QUERIES["tenant_costs"], since=f"{hour:%Y-%m-%d %H:%M:%S}"),
        "circuit_transitions": await rows(settings, TRANSITIONS),
        "drift": await rows(settings, DRIFT),
    }
