"""Native blocks as a client with a protocol version expects them.

chDB writes blocks of revision 0; a client that sends `client_protocol_version` (clickhouse-connect, clickhouse-go, Grafana)
reads a block info before each, and from 54454 on a byte for custom serialization after each column's type.
Finding the columns' borders means walking the types.
"""

from dataclasses import dataclass

_CUSTOM_SERIALIZATION = 54454
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_WIDTHS = {
    "Int8": 1, "UInt8": 1, "Bool": 1, "Enum8": 1, "Nothing": 1,
    "Int16": 2, "UInt16": 2, "Date": 2, "Enum16": 2, "BFloat16": 2,
    "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "IPv4": 4, "Time": 4,
    "Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8,
    "IPv6": 16, "UUID": 16, "Int128": 16, "UInt128": 16, "Int256": 32, "UInt256": 32,
}  # fmt: skip
_POINT = "Tuple(Float64, Float64)"
_GEO = {
    "Point": _POINT, "Ring": f"Array({_POINT})", "LineString": f"Array({_POINT})", "MultiLineString": f"Array(Array({_POINT}))",
    "Polygon": f"Array(Array({_POINT}))", "MultiPolygon": f"Array(Array(Array({_POINT})))",
}  # fmt: skip


class Unframable(ValueError):
    """A type whose bytes cannot be walked; the message names it."""


@dataclass(frozen=True, slots=True)
class Type:
    """`name` of a type and its parsed `parts`: nested types, or literals such as a precision as a `Type` without parts."""

    name: str
    parts: tuple["Type", ...]


def reframe(blocks: bytes, revision: int) -> bytes:
    """Blocks of revision 0 as blocks of `revision`. Raises `Unframable`."""
    out = bytearray()
    position = 0
    while position < len(blocks):
        start = position
        columns, position = _varint(blocks, position)
        rows, position = _varint(blocks, position)
        out += _BLOCK_INFO + blocks[start:position]
        for _ in range(columns):
            start = position
            length, position = _varint(blocks, position)
            position += length
            length, position = _varint(blocks, position)
            kind = parse_type(blocks[position : position + length].decode())
            position += length
            out += blocks[start:position]
            if revision >= _CUSTOM_SERIALIZATION:
                out += b"\x00"
            start = position
            if rows:
                position = _skip(blocks, position + 8 * _dictionaries(kind), kind, rows)
            out += blocks[start:position]
    return bytes(out)


def parse_type(text: str) -> Type:
    """`Array(Nullable(String))` as a tree; names of tuple fields are dropped."""
    name, bracket, rest = text.strip().partition("(")
    if name in _GEO and not bracket:
        return parse_type(_GEO[name])
    if not bracket:
        return Type(name, ())
    inner = _split(rest[: rest.rindex(")")])
    if name in ("Enum8", "Enum16"):
        return Type(name, ())
    if name == "Nested":
        return Type("Array", (Type("Tuple", tuple(parse_type(_unnamed(part)) for part in inner)),))
    return Type(name, tuple(parse_type(_unnamed(part) if name == "Tuple" else part) for part in inner))


def _split(text: str) -> list[str]:
    """The parts between commas of the outermost level."""
    parts, depth, quote, start, index = [], 0, "", 0, 0
    while index < len(text):
        letter = text[index]
        if quote:
            if letter == "\\":
                index += 1
            elif letter == quote:
                quote = ""
        elif letter in "'`":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    return [*parts, text[start:]]


def _unnamed(part: str) -> str:
    """`city LowCardinality(String)` -> `LowCardinality(String)`; a field's name may be quoted."""
    part = part.strip()
    if part.startswith("`"):
        end = 1
        while part[end] != "`":
            end += 2 if part[end] == "\\" else 1
        return part[end + 1 :].strip()
    head, space, tail = part.partition(" ")
    return tail if space and "(" not in head else part


def _dictionaries(kind: Type) -> int:
    """LowCardinality columns in the type: each writes eight bytes before the data."""
    return (kind.name == "LowCardinality") + sum(_dictionaries(part) for part in kind.parts)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _uint64(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 8], "little")


def _skip(data: bytes, position: int, kind: Type, rows: int) -> int:
    """The position after `rows` values of the type."""
    if kind.name in _WIDTHS:
        return position + rows * _WIDTHS[kind.name]
    match kind.name:
        case "String":
            for _ in range(rows):
                length, position = _varint(data, position)
                position += length
            return position
        case "FixedString":
            return position + rows * int(kind.parts[0].name)
        case "Decimal":
            precision = int(kind.parts[0].name)
            return position + rows * (4 if precision <= 9 else 8 if precision <= 18 else 16 if precision <= 38 else 32)
        case "Nullable":
            return _skip(data, position + rows, kind.parts[0], rows)
        case "Array" | "Map":
            total = _uint64(data, position + 8 * (rows - 1)) if rows else 0
            position += 8 * rows
            for part in kind.parts:
                position = _skip(data, position, part, total)
            return position
        case "Tuple":
            for part in kind.parts:
                position = _skip(data, position, part, rows)
            return position if kind.parts else position + rows
        case "LowCardinality":
            return _skip_dictionary(data, position, kind.parts[0], rows)
        case "SimpleAggregateFunction":
            return _skip(data, position, kind.parts[1], rows)
        case name if name.startswith("Interval"):
            return position + 8 * rows
        case name:
            raise Unframable(
                f"{name} columns cannot be sent in Native format here: ask for another FORMAT or cast the column"
            )


def _skip_dictionary(data: bytes, position: int, inner: Type, rows: int) -> int:
    if rows == 0:
        return position
    flags, keys = _uint64(data, position), _uint64(data, position + 8)
    position = _skip(data, position + 16, inner.parts[0] if inner.name == "Nullable" else inner, keys)
    indexes = _uint64(data, position)
    return position + 8 + indexes * (1 << (flags & 0xFF))
