"""Reading a history: the topics as they stand, SQL over its door, the simulators' bill over HTTP."""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

from aiokafka import ConsumerRecord

from infra.chaos.history import Answer, Call, History, Price, Request, Sql, SqlRequest, Written
from infra.demo.warehouse import rows, wait_counts
from projections.fold import LogRecord
from schemas.codec import Codec
from schemas.errors import OperationError
from schemas.events import BudgetSet, Event
from schemas.ids import DEFAULT_TENANT, Source
from schemas.policy import CircuitPolicy
from schemas.snapshots import Snapshot
from streams.codecs import codec_of
from streams.reader import group_less, partitions_of, read_to_end
from streams.replay import replay
from streams.settings import Settings
from streams.topics import EVENT_KINDS, topics_of

EVENTS = "SELECT topic, partition, offset, event, event_id FROM turnout.events ORDER BY topic, partition, offset"
REQUESTS = "SELECT source, status, code, deployment, toInt64(cost_usd * 1000000000) AS nano FROM turnout.requests WHERE completed"
COSTS = "SELECT cost_id, nano_usd FROM turnout.costs"
DRIFT = "SELECT * FROM turnout.drift"
PROBE = "probe"
SHOWN_BYTES = 300
SQL_S = 240.0
"""Above what a sink takes to start and catch up on a starved machine: what is missing then is lost, not late."""


async def read_history(
    settings: Settings, simulators: int, published: Iterable[tuple[int, int]], *, owners_stay: bool
) -> History:
    """Everything at once, after SQL has caught up. `published`: partition and offset of what was acknowledged."""
    codec, topics = await codec_of(settings.kafka), topics_of(settings)
    ended_at = time.time_ns() // 1_000
    shared = topics.requests[0]
    answers = [_answer(record) async for record in _records(settings, shared.responses)]
    requests = [_request(record) async for record in _records(settings, shared.name)]
    # State before the events it is folded from: the log then reaches every snapshot.
    state = [_written(record, codec) async for record in _records(settings, topics.name("state"))]
    events = await read_events(settings)
    replayed = await replay(settings)
    catalog = settings.catalog
    prices = {
        deployment.id: Price(*(catalog.model_by_id[deployment.model].price_usd_per_million.nano[place] for place in (0, 2, 1)))
        for deployment in catalog.deployments
    }  # fmt: skip
    return History(
        requests=tuple(requests), published=tuple(Source(shared.name, *place) for place in published),
        answers=tuple(answers), events=tuple(events), state=tuple(state), calls=tuple(bill(simulators)),
        prices=prices, sql=await _sql(settings, events),
        replayed=(
            *(f"{d.key} at {d.offset} from {d.start}: published {d.published[:SHOWN_BYTES]}, replayed "
              f"{d.replayed[:SHOWN_BYTES] or 'nothing'}" for d in replayed.differences),
            *replayed.unproven, *await _again(settings, events),
        ),
        prefix=topics.prefix, ended_at=ended_at, owners_stay=owners_stay,
    )  # fmt: skip


async def _again(settings: Settings, events: list[LogRecord]) -> list[str]:
    """Where a budget was changed: a replay to the last change, twice and under different files, must be identical."""
    if (until := max((r.logged_at for r in events if isinstance(r.event, BudgetSet)), default=None)) is None:
        return []
    other = settings.model_copy(update={"circuit": CircuitPolicy(failure_threshold=1, open_s=1), "budgets": ()})
    first, second = await replay(settings, until), await replay(other, until)
    return [] if first == second else [f"until {until}: {first.digest} and, under another file, {second.digest}"]


async def read_events(settings: Settings) -> list[LogRecord]:
    """Every record of the event topics and of control, to their present end."""
    codec, topics = await codec_of(settings.kafka), topics_of(settings)
    return [
        LogRecord(record.topic, record.partition, record.offset, record.timestamp * 1000, cast(Event, codec.decode(record.value)))
        for name in map(topics.name, (*EVENT_KINDS, "control")) async for record in _records(settings, name)
    ]  # fmt: skip


def bill(simulators: int) -> list[Call]:
    """The calls of requests, without probes."""
    shown = ask_simulators(simulators, "/control/bill?requests=1")
    place = {name: index for index, name in enumerate(shown["columns"])}
    return [
        Call(
            row[place["attempt"]], row[place["provider"]], row[place["status"]], row[place["prompt_tokens"]],
            row[place["completion_tokens"]], row[place["cached_tokens"]],
        )
        for row in shown["requests"] if not row[place["probe"]] and row[place["attempt"]] not in (None, PROBE)
    ]  # fmt: skip


def ask_simulators(port: int, path: str, body: object = None) -> dict[str, Any]:
    """One question to the simulators' control paths. Raises OperationError when they do not answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=30) as answer:
            return cast(dict[str, Any], json.load(answer))
    except OSError as error:
        raise OperationError(f"The provider simulators do not answer ({error}); run it again.") from None


async def _records(settings: Settings, topic: str) -> AsyncIterator[ConsumerRecord]:
    async with group_less(settings.kafka.access) as consumer:
        async for record in read_to_end(consumer, await partitions_of(consumer, topic)):
            yield record


def _header(record: ConsumerRecord, name: str) -> str:
    return next((value.decode() for key, value in record.headers if key == name), "")


def _request(record: ConsumerRecord) -> Request:
    routing = json.loads(record.value).get("routing") or {}
    source = Source(record.topic, record.partition, record.offset)
    return Request(source, _header(record, "request-id") or str(source), str(routing.get("tenant") or DEFAULT_TENANT))


def _answer(record: ConsumerRecord) -> Answer:
    return Answer(
        f"{record.topic}-{record.partition}-{record.offset}", Source.parse(_header(record, "turnout-source")),
        _header(record, "request-id"), _header(record, "turnout-tenant"), _header(record, "turnout-status"),
        _header(record, "turnout-retryable") == "true",
    )  # fmt: skip


def _written(record: ConsumerRecord, codec: Codec) -> Written:
    snapshot = None if record.value is None else cast(Snapshot, codec.decode(record.value))
    return Written(record.key.decode(), record.partition, record.offset, snapshot)


async def _sql(settings: Settings, events: list[LogRecord]) -> Sql:
    """SQL once it has caught up with these events, or as it is when it does not; without what came after them."""
    ends: dict[tuple[str, int], int] = {}
    for record in events:
        ends[record.topic, record.partition] = record.offset
    bounds = {f"{topic}-{partition}": last + 1 for (topic, partition), last in ends.items()}
    deadline = asyncio.get_running_loop().time() + SQL_S
    await wait_counts(settings, bounds, dict(Counter(record.topic for record in events)), deadline)
    found = {}
    for row in await rows(settings, EVENTS):
        place = str(row["topic"]), int(row["partition"]), int(row["offset"])
        if place[2] <= ends.get(place[:2], -1):
            found[place] = str(row["event"]), str(row["event_id"])
    return Sql(
        events=found,
        requests={
            row["source"]: SqlRequest(row["status"], row["code"], row["deployment"], int(row["nano"]))
            for row in await rows(settings, REQUESTS)
        },
        costs={row["cost_id"]: int(row["nano_usd"]) for row in await rows(settings, COSTS)},
        drift=tuple(str(row) for row in await rows(settings, DRIFT)),
    )  # fmt: skip
