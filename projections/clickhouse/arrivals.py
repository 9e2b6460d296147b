"""Where containers arrive, and how ClickHouse makes rows of `turnout.log` of them: pure text, from the schemas of the events."""

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any

from projections.clickhouse.container import PLACE, branches
from projections.clickhouse.rows import COLUMNS, PLACED, filled
from schemas.codec import NEWEST

TYPES = {
    "string": "String", "bytes": "String", "int": "Int32", "long": "Int64", "double": "Float64", "boolean": "Bool",
}  # fmt: skip
INSTANTS = ("logged_at", "occurred_at", "accepted_at")
# What a row says where its event does not.
OTHERWISE = {"accepted_at": "a.logged_at", "kind": "a.topic_kind"}
SETTINGS = {
    "input_format_null_as_default": 1, "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 0, "output_format_json_escape_forward_slashes": 0,
    "output_format_json_named_tuples_as_objects": 1,
    # Bytes that only look like an event may claim any length. Two inserts may be under way.
    "max_memory_usage": 2_000_000_000,
}  # fmt: skip
"""Of the insert: absent branches are empty, and `payload` is the same JSON whatever the server's profile says."""


@cache
def arrivals() -> tuple[str, tuple[str, str]]:
    """The table's name, and the definitions of it and of its view.

    They are named after what they say: a sink of another version has its own, and none takes the other's away while it writes.
    """
    version = sha256(f"{_table('')}{_view('')}".encode()).hexdigest()[:8]
    name = f"turnout.arrivals_{version}"
    return name, (_table(name), _view(name))


def _table(name: str) -> str:
    columns = [f"{column} {_type(kind)}" for column, kind in PLACE.items() if column not in ("offset", "logged_at")]
    columns += ["offset Int64", "logged_at Int64"]
    columns += [f"{branch} {_type(shape)}" for branch, shape in branches().items()]
    return "CREATE TABLE IF NOT EXISTS {}\n(\n    {}\n)\nENGINE = Null".format(name, ",\n    ".join(columns))


def _view(name: str) -> str:
    columns = ",\n    ".join(f"{_column(column)} AS {column}" for column in COLUMNS)
    view = name.replace("arrivals", "to_log")
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view} TO turnout.log AS\nSELECT {columns}\nFROM {name} AS a"


def _column(column: str) -> str:
    if column in PLACED:
        value = f"a.{column}"
    else:
        cases = "".join(f"a.branch = {number}, {value}, " for number, value in _values(column))
        value = f"multiIf({cases}{_literal(COLUMNS[column])})"
    if column in OTHERWISE:
        blank = _literal(COLUMNS[column])
        value = f"if(({value} AS own_{column}) = {blank}, {OTHERWISE[column]}, own_{column})"
    if column == "payload":
        # Strings of Avro are UTF-8: who reads them would stumble over anything else.
        value = f"if(throwIf(NOT isValidUTF8({value} AS said), 'no UTF-8') = 0, said, '')"
    return f"fromUnixTimestamp64Micro({value}, 'UTC')" if column in INSTANTS else value


def _values(column: str) -> Iterator[tuple[int, str]]:
    """Number of a branch -> what it says in a column, where it says something."""
    for number, (branch, shape) in enumerate(branches().items()):
        fields = {field["name"]: field["type"] for field in shape["fields"]}
        if branch == "row":
            yield number, f"a.row.{column}"
        elif column == "payload":
            yield number, _json(branch, fields)
        elif column == "event":
            yield number, _literal(branch)
        elif column == "version":
            yield number, str(NEWEST[branch])
        elif column.startswith("source_") and "source" in fields:
            yield number, f"a.{branch}.source.{column.removeprefix('source_')}"
        elif (field := filled(branch).get(column)) is not None:
            yield number, f"a.{branch}.{field}"


def _json(branch: str, fields: dict[str, Any]) -> str:
    """An event as the JSON that `row_of` makes: without its tag, bytes in base64."""
    told = {name: kind for name, kind in fields.items() if name not in ("event", "version")}
    values = (
        f"base64Encode(a.{branch}.{name})" if kind == "bytes" else f"a.{branch}.{name}" for name, kind in told.items()
    )
    names = ", ".join(f"{name} {_type(kind)}" for name, kind in told.items())
    return f"toJSONString(CAST(tuple({', '.join(values)}) AS Tuple({names})))"


def _type(shape: Any) -> str:
    """The ClickHouse type of an Avro type. Raises KeyError for one that no event of a container has, such as a union."""
    if isinstance(shape, str):
        return TYPES[shape]
    if shape["type"] == "array":
        return f"Array({_type(shape['items'])})"
    if shape["type"] == "map":
        return f"Map(String, {_type(shape['values'])})"
    return "Tuple({})".format(", ".join(f"{field['name']} {_type(field['type'])}" for field in shape["fields"]))


def _literal(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()
