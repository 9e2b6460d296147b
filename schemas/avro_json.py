"""Between JSON values and Avro data, as a hand-written schema steers it.

Two attributes of a schema: `json` marks a string that holds JSON text, `of` names the JSON field that a second Avro field
stands for. What fits no typed field of a record (an unknown field, an explicit null, an unusual type) stands in its `extra`
map as JSON text.
"""

from collections.abc import Callable
from typing import Any, cast

import orjson

from schemas.shapes import NAMESPACE

EXTRA = "extra"
LONG_LIMIT = 2**63
# An array item takes one byte on the wire and up to 700 in memory, so a few MB of empty messages would become GBs.
# Values of at most this many bytes cannot hold more items than this, so only larger ones are measured first.
MAX_ITEMS = 65_536
Convert = Callable[[Any], Any]


class Unfit(Exception):
    """A JSON value that a typed field cannot hold."""


class Malformed(Exception):
    """Bytes that are no record of ours; the text is a sentence that quotes no value."""


class TooMany(Exception):
    """More items than MAX_ITEMS."""


def broken(name: str) -> str:
    return f"The bytes after the header are not a whole {name} record; write it with its schema and send all of it"


def packer(node: Any) -> Convert:
    """JSON value -> Avro datum; the function raises Unfit."""
    match node:
        case list():
            branches = [(_branch_name(branch), packer(branch)) for branch in node if branch != "null"]
            return lambda value: _first_fit(branches, value)
        case {"type": "record"}:
            return _record_packer(node)
        case {"type": "array", "items": items}:
            each = packer(items)
            return lambda value: [each(item) for item in value] if isinstance(value, (list, tuple)) else _unfit()
        case {"type": "map", "values": values}:
            each = packer(values)
            return lambda value: {_text(key): each(item) for key, item in _object(value).items()}
        case _:
            return SCALARS[node]


def _record_packer(node: dict[str, Any]) -> Convert:
    fields: dict[str, list[tuple[str, Convert]]] = {}
    required = {field["name"] for field in node["fields"] if "default" not in field}
    for field in node["fields"]:
        if field["name"] != EXTRA:
            pack = _json_text if field.get("json") else packer(field["type"])
            fields.setdefault(field.get("of", field["name"]), []).append((field["name"], pack))

    def packed(value: Any) -> dict[str, Any]:
        record: dict[str, Any] = {}
        extra: dict[str, str] = {}
        for key, item in _object(value).items():
            for name, pack in fields.get(key, ()) if item is not None else ():
                try:
                    record[name] = pack(item)
                    break
                except Unfit:
                    continue
            else:
                extra[_text(key)] = orjson.dumps(item).decode()
        if not record.keys() >= required:
            raise Unfit
        record[EXTRA] = extra
        return record

    return packed


def _branch_name(branch: Any) -> str:
    if isinstance(branch, str):
        return branch
    return f"{NAMESPACE}.{branch['name']}" if branch["type"] == "record" else cast(str, branch["type"])


def _first_fit(branches: list[tuple[str, Convert]], value: Any) -> tuple[str, Any]:
    """The datum with the name of its branch: fastavro then tries none (an answer: 71 us, else 192)."""
    for name, pack in branches:
        try:
            return name, pack(value)
        except Unfit:
            continue
    raise Unfit


def _unfit() -> Any:
    raise Unfit


def _object(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else cast(dict[str, Any], _unfit())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cast(str, _unfit())


def _long(value: Any) -> int:
    return value if type(value) is int and -LONG_LIMIT <= value < LONG_LIMIT else cast(int, _unfit())


def _double(value: Any) -> float:
    # An integer beyond 2**53 would come back as another one.
    fits = type(value) is float or (type(value) is int and abs(value) <= 2**53)
    return float(value) if fits else cast(float, _unfit())


def _boolean(value: Any) -> bool:
    return value if type(value) is bool else cast(bool, _unfit())


def _json_text(value: Any) -> tuple[str, str]:
    return "string", orjson.dumps(value).decode()


SCALARS: dict[str, Convert] = {"string": _text, "long": _long, "double": _double, "boolean": _boolean}


def unpacker(node: Any, path: str) -> Convert:
    """Avro datum -> JSON value; the function raises Malformed. `path`: where it stands, for sentences."""
    match node:
        case list():
            shaped = [branch for branch in node if not isinstance(branch, str)]
            (unpack,) = [unpacker(branch, path) for branch in shaped] or [_same]
            return unpack
        case {"type": "record"}:
            return _record_unpacker(node, path)
        case {"type": "array", "items": {"type": "record"} as items}:
            each = unpacker(items, path)
            return lambda value: [each(item) for item in value]
        case _:
            return _same


def _record_unpacker(node: dict[str, Any], path: str) -> Convert:
    dotted = f"{path}." if path else ""
    fields: list[tuple[str, str, Convert]] = []
    for field in node["fields"]:
        name = field["name"]
        if name != EXTRA:
            where = dotted + name
            unpack = _json_reader(where) if field.get("json") else unpacker(field["type"], where)
            fields.append((name, field.get("of", name), unpack))

    def unpacked(record: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, key, unpack in fields:
            if (item := record[name]) is not None:
                if key in value:
                    raise Malformed(f"`{dotted}{name}` and `{dotted}{key}` are both set; set one of them")
                value[key] = unpack(item)
        for key, text in record[EXTRA].items():
            if key in value:
                raise Malformed(f"`{dotted}{EXTRA}` repeats a field that is set; set it once")
            value[key] = _json(text, dotted + EXTRA)
        return value

    return unpacked


def _json_reader(where: str) -> Convert:
    return lambda text: _json(text, where)


def _json(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Malformed(f"`{where}` must hold JSON text; write its value as JSON") from None


def _same(value: Any) -> Any:
    return value


def measure(schema: Any, value: bytes, start: int) -> None:
    """Walk the bytes without building anything. Raises TooMany, or Malformed where a length leads past the end."""
    items = 0

    def number(at: int) -> tuple[int, int]:
        total = shift = 0
        while shift < 70:
            byte = value[at]
            at += 1
            total |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (total >> 1) ^ -(total & 1), at
            shift += 7
        raise IndexError

    def skipped(node: Any, at: int) -> int:
        nonlocal items
        if isinstance(node, list):
            branch, at = number(at)
            return skipped(node[branch] if branch >= 0 else [], at)
        kind = node["type"] if isinstance(node, dict) else node
        if kind == "record":
            for field in node["fields"]:
                at = skipped(field["type"], at)
            return at
        if kind in ("array", "map"):
            while True:
                count, at = number(at)
                if count < 0:
                    count, (_, at) = -count, number(at)
                if count == 0:
                    return at
                items += count
                if items > MAX_ITEMS:
                    raise TooMany
                for _ in range(count):
                    at = skipped("string", at) if kind == "map" else at
                    at = skipped(node["values"] if kind == "map" else node["items"], at)
        if kind == "string":
            length, at = number(at)
            if not 0 <= length <= len(value) - at:
                raise IndexError
            return at + length
        if kind == "long":
            return number(at)[1]
        return at + {"null": 0, "boolean": 1, "double": 8}[kind]

    try:
        skipped(schema, start)
    except (IndexError, RecursionError):
        raise Malformed(broken("record")) from None
