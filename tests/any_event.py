"""Any event and any snapshot: values drawn from the annotations of a class, as the schema of a class reads them."""

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from hypothesis import strategies as st

from schemas.snapshots import Snapshot, encode_value

# JSON shows instants as ISO 8601: the years 1970 to 2100.
INSTANTS = st.integers(0, 4_102_444_800_000_000)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS, float: st.floats(allow_nan=False, allow_infinity=False), str: TEXTS, bool: st.booleans(),
    bytes: st.binary(max_size=12),
}  # fmt: skip
STATE_VALUES = st.dictionaries(TEXTS, st.integers(-(2**53), 2**53), max_size=3).map(encode_value)


def of_hint(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, as the schema of a class reads it."""
    if hint is int and name.endswith("_at"):
        return INSTANTS
    if hint in SCALARS:
        return SCALARS[hint]
    if is_dataclass(hint):
        return instances(typing.cast(type, hint))
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return st.lists(of_hint("", inner[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXTS, of_hint("", inner[1]), max_size=3)
    assert origin in (types.UnionType, typing.Union), hint
    return st.one_of(st.none(), *(of_hint(name, option) for option in inner if option is not type(None)))


def instances(shape: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(shape)
    values = {field.name: of_hint(field.name, hints[field.name]) for field in fields(shape)}
    if shape is Snapshot:
        values["value"] = STATE_VALUES
    return st.builds(shape, **values)
