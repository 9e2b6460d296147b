"""Every event in every format comes back as it was; unknown bytes raise UnknownEvent."""

import pytest
from any_event import instances
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import NEWEST, TAGGED, Codec, document_of_event, event_of, wire_schemas
from schemas.errors import UnknownEvent, UnreadableRecord
from schemas.events import ClockTicked, Event
from schemas.snapshots import Snapshot

IDS = {(schema.event, schema.version): 100 + index for index, schema in enumerate(wire_schemas())}
CODECS = {"avro": Codec(), "json": Codec(format="json"), "confluent": Codec(registry_ids=IDS)}
TICK = ClockTicked(
    event_id="e", occurred_at=1_790_000_000_000_001, worker="w", topic="t", partition=0, control_offset=3
)


@pytest.mark.parametrize("form", CODECS)
@pytest.mark.parametrize("name", TAGGED)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_event_comes_back_as_it_was(name: str, form: str, data: st.DataObject) -> None:
    event: Event | Snapshot = data.draw(instances(TAGGED[name]))
    codec = CODECS[form]
    value = codec.encode(event)
    decoded = codec.decode(value)
    assert decoded == event
    assert codec.encode(decoded) == value


def test_reading_needs_no_configuration() -> None:
    assert CODECS["json"].decode(CODECS["avro"].encode(TICK)) == TICK
    assert CODECS["avro"].decode(CODECS["json"].encode(TICK)) == TICK
    assert CODECS["confluent"].decode(CODECS["avro"].encode(TICK)) == TICK


def test_the_header_names_the_format() -> None:
    assert CODECS["avro"].encode(TICK).startswith(b"\xc3\x01")
    assert CODECS["confluent"].encode(TICK)[:5] == b"\0" + IDS["ClockTicked", NEWEST["ClockTicked"]].to_bytes(4, "big")
    assert CODECS["json"].encode(TICK).startswith(b"{")


def test_people_read_instants_in_iso_8601() -> None:
    document = document_of_event(TICK)
    assert (document["event"], document["version"]) == ("ClockTicked", NEWEST["ClockTicked"])
    assert document["occurred_at"] == "2026-09-21T14:13:20.000001Z"


def test_every_fingerprint_is_its_own() -> None:
    headers = [schema.header for schema in wire_schemas()]
    assert len(set(headers)) == len(headers)
    assert {len(header) for header in headers} == {10}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"\xc3\x01", id="header cut"),
        pytest.param(b"\xc3\x01" + b"\xab" * 8 + b"rest", id="unknown fingerprint"),
        pytest.param(b"\0\0\0\0\1rest", id="Confluent framing without a registry"),
        pytest.param(b'{"event": "NeverHeardOf", "version": 1}', id="unknown event"),
        pytest.param(b'{"event": "ClockTicked"}', id="no version"),
        pytest.param(b'{"event": ["ClockTicked"], "version": 1}', id="event is no name"),
    ],
)
def test_unknown_bytes_raise_unknown_event(value: bytes) -> None:
    with pytest.raises(UnknownEvent):
        CODECS["avro"].decode(value)


@pytest.mark.parametrize("value", [b"", b"plain text", b"{}", b'{"a": 1}', b"[1]", b"\xff\xfe"])
@pytest.mark.parametrize("name", sorted(CODECS))
def test_what_no_version_wrote_is_no_event(name: str, value: bytes) -> None:
    with pytest.raises(UnreadableRecord, match=f"^{len(value)} bytes are no event of any version"):
        CODECS[name].decode(value)


def test_a_snapshot_is_no_event_of_a_topic() -> None:
    snapshot = Snapshot("load", 1, "w", "", 0, 0, 1, 1, b"{}")
    with pytest.raises(UnreadableRecord, match="a Snapshot is no event"):
        event_of(CODECS["avro"].encode(snapshot), CODECS["avro"])


def test_an_unknown_registry_id_raises_unknown_event() -> None:
    with pytest.raises(UnknownEvent, match="00ffffffff"):
        CODECS["confluent"].decode(b"\0\xff\xff\xff\xffrest")


def test_a_newer_version_raises_unknown_event() -> None:
    newer = CODECS["json"].encode(TICK).replace(b'"version":1', b'"version":99')
    with pytest.raises(UnknownEvent, match="ClockTicked version 99 is newer than this Turnout; upgrade"):
        CODECS["avro"].decode(newer)
