"""Records as blocks of a container, read back by another reader of Avro than the engine."""

import io
from collections.abc import Iterator
from typing import Any

import fastavro
import orjson
import pytest
from aiokafka import ConsumerRecord

from infra.bench.sink_log import requests_log
from projections.clickhouse.container import PASSED, Block, container
from projections.clickhouse.rows import COLUMNS, PLACED, row_of
from schemas.codec import NEWEST, Codec
from schemas.events import ClockTicked
from streams.recorder import Recorder
from streams.settings import Settings
from streams.topics import topics_of

AT_MS = 1_790_000_000_000
TICK = ClockTicked(event_id="t", occurred_at=1, worker="w", topic="llm.costs", partition=6, control_offset=3)
ACCEPTED = next(requests_log(1, 1, AT_MS * 1000, 10.0))[1][1]
AVRO = Codec()
REGISTERED = Codec(registry_ids={(name, NEWEST[name]): 300 + number for number, name in enumerate(PASSED)})


def record(kind: str, offset: int, value: bytes | None, key: bytes = b"k") -> Any:
    return ConsumerRecord(f"llm.{kind}", 1, offset, AT_MS, 1, key, value, None, 3, len(value or b""), [])


def recorder(codec: Codec = AVRO) -> Recorder:
    return Recorder(topics_of(Settings()), codec)


def branches(blocks: list[Block]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name of the branch, what stands in it, where it stands) of each record."""
    for found in fastavro.reader(io.BytesIO(container(blocks))):
        place: dict[str, Any] = {
            name: found.pop(name) for name in ("topic", "partition", "offset", "logged_at", "branch")
        }
        found.pop("topic_kind")
        ((name, said),) = [(name, said) for name, said in found.items() if said is not None]
        assert place["branch"] == list(found).index(name)
        yield name, said, place


@pytest.mark.parametrize("codec", [AVRO, REGISTERED], ids=["single object", "registered"])
def test_what_routers_write_is_passed_on_as_it_was_written(codec: Codec) -> None:
    written = [event for _, (kind, event) in requests_log(40, 1, AT_MS * 1000, 10.0)]
    records = [record("attempts", offset, codec.encode(event)) for offset, event in enumerate(written)]
    found = list(branches(recorder(codec).blocks(records)))
    assert {name for name, _, _ in found} == set(PASSED)
    assert [(name, said) for name, said, _ in found] == [
        (type(event).__name__, codec.record(codec.encode(event))) for event in written
    ]
    assert [place["offset"] for _, _, place in found] == list(range(len(written)))
    assert {(place["topic"], place["partition"], place["logged_at"]) for _, _, place in found} == {
        ("llm.attempts", 1, AT_MS * 1000)
    }


@pytest.mark.parametrize("kind", ["control", "state", "feedback", "dead-letters"])
def test_only_topics_of_events_are_passed_on(kind: str) -> None:
    blocks = recorder().blocks([record(kind, 0, AVRO.encode(ACCEPTED))])
    assert [name for name, _, _ in branches(blocks)] == ["row"]


@pytest.mark.parametrize("codec", [AVRO, Codec("json")], ids=["rare", "JSON"])
def test_everything_else_is_a_row(codec: Codec) -> None:
    value = codec.encode(TICK if codec is AVRO else ACCEPTED)
    ((name, said, _),) = branches(recorder(codec).blocks([record("attempts", 9, value)]))
    row = row_of("attempts", "llm.attempts", 1, 9, AT_MS * 1000, AVRO.newest(value))
    assert (name, said) == ("row", dict(list(zip(COLUMNS, row, strict=True))[len(PLACED) :]))


def test_all_can_be_decoded_here() -> None:
    values = [AVRO.encode(event) for _, (_, event) in requests_log(5, 1, AT_MS * 1000, 10.0)]
    damaged = values[0][:-1]
    rows = recorder().rows([record("attempts", offset, value) for offset, value in enumerate([*values, damaged])])
    said = [said["event"] for _, said, _ in branches(rows)]
    assert said[-1] == "IngestError" and "IngestError" not in said[:-1]


def test_a_value_that_its_column_cannot_hold_is_a_row_of_what_could_not_be_read() -> None:
    value = orjson.dumps({"event": "ClockTicked", "version": 1, "event_id": {}, "occurred_at": 5, "worker": "w",
                          "topic": "t", "partition": 0, "control_offset": 1})  # fmt: skip
    ((_, said, _),) = branches(recorder().blocks([record("attempts", 0, value)]))
    assert said["event"] == "IngestError"


def test_feedback_by_hand_is_an_event_and_junk_beside_it_a_row_of_what_could_not_be_read() -> None:
    given = {"request_id": "r-1", "score": 0.75, "deployment": "d", "task": "code", "given_by": "anna"}
    values = (orjson.dumps(given), b"junk", None)
    records = [record("feedback", offset, value) for offset, value in enumerate(values)]
    (_, row, place), *others = branches(recorder().blocks(records))
    assert (row["event"], row["request_id"], row["tenant"]) == ("FeedbackGiven", "r-1", "default")
    assert (row["deployment"], row["task"], place["offset"]) == ("d", "code", 0)
    assert place["logged_at"] == row["occurred_at"] == AT_MS * 1000
    assert orjson.loads(row["payload"])["score"] == 0.75
    assert [other["event"] for _, other, _ in others] == ["IngestError", "IngestError"]


def test_a_record_stands_alone_in_its_block() -> None:
    """A damaged one ends its own block, and no reader takes what follows for the rest of it."""
    whole = AVRO.encode(ACCEPTED)
    blocks = recorder().blocks([record("decisions", 0, whole[:-3]), record("decisions", 1, whole)])
    with pytest.raises((EOFError, ValueError)):
        list(fastavro.reader(io.BytesIO(container(blocks))))
