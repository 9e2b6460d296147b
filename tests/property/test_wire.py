"""Packed messages are aiokafka's messages: the same bytes out, the same values in."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.types import (
    Array,
    Boolean,
    Bytes,
    CompactString,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
    UInt32,
    UnsignedVarInt32,
)
from hypothesis import given
from hypothesis import strategies as st

import streams.connections  # noqa: F401 - which packs them
from streams.wire import Packed, messages, packed

INTEGERS = {Int8: (-(2**7), 2**7), Int16: (-(2**15), 2**15), Int32: (-(2**31), 2**31), Int64: (-(2**63), 2**63),
            UInt32: (0, 2**32), UnsignedVarInt32: (0, 2**32)}  # fmt: skip


def plain(field: Any) -> Any:
    """The field as aiokafka has it."""
    if isinstance(field, Schema):
        return Schema(*[(name, plain(one)) for name, one in zip(field.names, field.fields, strict=True)])
    if isinstance(field, Array):
        made = type(field)(Int8)
        made.array_of = plain(field.array_of)
        return made
    return field


def values(field: Any) -> st.SearchStrategy[Any]:
    if isinstance(field, Schema):
        return st.tuples(*[values(one) for one in field.fields])
    if isinstance(field, Array):
        return st.lists(values(field.array_of), max_size=2)
    if isinstance(field, CompactString | String):
        return st.text(max_size=5)
    if field in INTEGERS:
        low, above = INTEGERS[field]
        return st.integers(low, above - 1)
    if field is Boolean:
        return st.booleans()
    if field is Float64:
        return st.floats(allow_nan=False)
    if field is TaggedFields:
        return st.just({})
    return st.binary(max_size=5)


MESSAGES = {f"{message.__module__}.{message.__name__}": message for message in messages() if message.SCHEMA.fields}


@given(data=st.data())
def test_every_message_is_the_same_both_ways(data: st.DataObject) -> None:
    message = MESSAGES[data.draw(st.sampled_from(sorted(MESSAGES)))]
    ours, theirs = packed(message.SCHEMA), plain(message.SCHEMA)
    item = data.draw(values(theirs))
    written = theirs.encode(item)
    assert ours.encode(item) == written
    assert ours.decode(BytesIO(written)) == theirs.decode(BytesIO(written)) == item


def test_aiokafka_uses_them() -> None:
    assert all(isinstance(message.SCHEMA, Packed) for message in messages())


@given(cut=st.integers(0, 13))
def test_too_few_bytes_are_a_value_error_as_they_were(cut: int) -> None:
    schema = Schema(("partition", Int32), ("error", Int16), ("offset", Int64))
    whole = schema.encode((1, 2, 3))
    for one in (schema, packed(schema)):
        with pytest.raises(ValueError):
            one.decode(BytesIO(whole[:cut]))


@pytest.mark.parametrize("item", [(1, 2), (2**31, 0, 0), ("1", 0, 0), (1, 2, 3, 4)])
def test_what_does_not_fit_is_a_value_error_as_it_was(item: tuple[Any, ...]) -> None:
    schema = Schema(("partition", Int32), ("error", Int16), ("offset", Int64))
    for one in (schema, packed(schema)):
        with pytest.raises(ValueError):
            one.encode(item)


def test_nothing_may_stand_for_a_list_or_bytes() -> None:
    schema = packed(Schema(("topics", Array(("partition", Int32), ("messages", Bytes)))))
    for item in ((None,), ([(1, None)],)):
        assert schema.decode(BytesIO(schema.encode(item))) == item
