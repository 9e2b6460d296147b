"""Dataclasses to Avro: the schema of a class and its records both ways, from its annotations alone."""

import dataclasses
import types
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Any, get_args, get_origin

T = typing.TypeVar("T")
Convert = Callable[[Any], Any]
NAMESPACE = "turnout"
SCALARS: dict[Any, str] = {int: "long", float: "double", str: "string", bool: "boolean", bytes: "bytes"}


def avro_schema(shape: type, *, tag: bool) -> dict[str, Any]:
    """The Avro record of a dataclass. `tag`: put `event` and `version` first, so that a record names itself.

    Fields that end in `_at` are instants in microseconds (logical type timestamp-micros).
    """
    return typing.cast(dict[str, Any], _record(shape, tag, set()))


def _record(shape: type, tag: bool, seen: set[str]) -> Any:
    if shape.__name__ in seen:
        return f"{NAMESPACE}.{shape.__name__}"
    seen.add(shape.__name__)
    hints = typing.get_type_hints(shape)
    fields: list[dict[str, Any]] = []
    if tag:
        version = getattr(shape, "VERSION", 1)
        fields.append({"name": "event", "type": "string", "default": shape.__name__})
        fields.append({"name": "version", "type": "int", "default": version})
    for field in dataclasses.fields(shape):
        fields.append({"name": field.name, "type": _type(field.name, hints[field.name], seen)})
    return {"type": "record", "name": shape.__name__, "namespace": NAMESPACE, "fields": fields}


def _type(name: str, hint: Any, seen: set[str]) -> Any:
    if hint is int and name.endswith("_at"):
        return {"type": "long", "logicalType": "timestamp-micros"}
    if hint in SCALARS:
        return SCALARS[hint]
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast(type, hint), False, seen)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple and inner[1:] == (Ellipsis,):
        return {"type": "array", "items": _type("", inner[0], seen)}
    if origin is dict and inner[0] is str:
        return {"type": "map", "values": _type("", inner[1], seen)}
    if origin in (types.UnionType, typing.Union):
        (present,) = [option for option in inner if option is not type(None)]
        return ["null", _type(name, present, seen)]
    raise TypeError(f"{name}: no Avro type for {hint}")


def _identity(value: Any) -> Any:
    return value


_OUTWARD: dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Convert], ...]]] = {}
_INWARD: dict[type, tuple[tuple[str, Convert], ...]] = {}


def _made(shape: type, outward: bool) -> tuple[tuple[str, Convert], ...]:
    hints = typing.get_type_hints(shape)
    return tuple((field.name, _converter(hints[field.name], outward)) for field in dataclasses.fields(shape))


def _converter(hint: Any, outward: bool) -> Convert:
    if dataclasses.is_dataclass(hint):
        shape = typing.cast(type, hint)
        return to_record if outward else lambda record: from_record(shape, record)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        each = _converter(inner[0], outward)
        if each is _identity:
            return list if outward else tuple
        return (
            (lambda items: [each(item) for item in items])
            if outward
            else (lambda items: tuple(each(item) for item in items))
        )
    return _identity


def to_record(value: Any) -> dict[str, Any]:
    """A dataclass as the dict that its Avro schema describes, without the tag."""
    plan = _OUTWARD.get(type(value))
    if plan is None:
        plan = _OUTWARD[type(value)] = _outward(type(value))
    names, values_of, nested = plan
    record = dict(zip(names, values_of(value), strict=True))
    for name, convert in nested:
        record[name] = convert(record[name])
    return record


def _outward(shape: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Convert], ...]]:
    """Names, one call that reads all fields, and what is left to convert: a plan, since this runs for every event."""
    converters = _made(shape, True)
    names = tuple(name for name, _ in converters)
    # attrgetter of one name gives no tuple.
    values_of = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    return names, values_of, tuple((name, convert) for name, convert in converters if convert is not _identity)


def from_record(shape: type[T], record: dict[str, Any]) -> T:
    """The inverse of `to_record`. Raises KeyError when a field is missing."""
    plan = _INWARD.get(shape)
    if plan is None:
        plan = _INWARD[shape] = _made(shape, False)
    return shape(**{
        name: record[name] if convert is _identity else convert(record[name]) for name, convert in plan
    })  # fmt: skip
