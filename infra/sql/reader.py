"""One reader's statement on a handle of its own: limits set, guarded, run."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.sql import guard
from infra.sql.engine import DATABASE, Engine
from infra.sql.errors import ACCESS_DENIED, NOT_IMPLEMENTED, READONLY, SqlError, from_engine
from infra.sql.native import Unframable, reframe
from infra.sql.roles import ANALYST, CARRIER, Role

# The ceilings stand in users.xml as constraints as well; a client may ask for less.
_CEILINGS = {
    "max_threads": 1,  # 16 readers with more starved the writer from 15 to 0.8 batches/s.
    "max_execution_time": 30,
    "max_memory_usage": 2_000_000_000,
    "max_rows_to_read": 2_000_000_000,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 268_435_456,
}
_ALLOWED = frozenset(
    {"limit", "offset", "extremes", "max_block_size", "session_timezone", "log_comment", "final", "join_use_nulls"}
)
_ALLOWED_PREFIXES = (
    "output_format_",
    "date_time_",
    "cast_",
    "optimize_",
    "join_algorithm",
    "prefer_",
    "group_by_use_nulls",
    "union_default",
)
# A tenant's: what shapes an answer. Limits it may not lower: the error would count rows of others.
_TENANTS_PREFIXES = (
    "output_format_",
    "date_time_",
    "session_timezone",
    "max_execution_time",
    "max_result_",
    "limit",
    "offset",
    "extremes",
)
# They reach another file or format's schema, whatever their prefix.
_REFUSED = frozenset({"output_format_schema"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A statement as it came: parameters and settings as text, `protocol` the client's revision (0: none)."""

    sql: str
    database: str
    default_format: str
    params: Mapping[str, str]
    settings: Mapping[str, str]
    protocol: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`format` names what `body` is written in; sizes are rows and bytes read by the engine."""

    format: str
    body: bytes
    read_rows: int
    read_bytes: int
    elapsed_ns: int


def ask(engine: Engine, question: Question, role: Role = ANALYST) -> Reply:
    """Blocking: call it from a thread. Raises `SqlError`. A tenant is not told how many rows were read: some are others'."""
    alone = role.kind == "tenant"
    settings = _settings(question.settings)
    if alone:
        settings = {name: value for name, value in settings.items() if name.startswith(_TENANTS_PREFIXES)}
        settings["output_format_write_statistics"] = "0"
    if question.database not in ("", "default", DATABASE):
        raise SqlError(ACCESS_DENIED, f"Not allowed for readers: database {question.database[:60]}: use {DATABASE}")
    default_format = guard.check_format(question.default_format)
    handle = engine.handle()
    try:
        if alone:
            # Before its profile, which freezes it.
            _set(handle, {CARRIER: role.mark})
        handle.query(f"SET profile = '{'tenant' if alone else 'reader'}'")
        handle.query(f"USE {DATABASE}")
        _set(handle, {name: str(value) for name, value in _CEILINGS.items()} | {"readonly": "2"})
        # The client's own limits come after the check, or a low max_result_rows would stop the check itself.
        answer_format = guard.check(handle, question.sql, question.params, role) or default_format
        _set(handle, settings)
        started = time.perf_counter_ns()
        result = _run(handle, question.sql, answer_format, question.params)
        elapsed_ns = time.perf_counter_ns() - started
        body = bytes(result.bytes() or b"")
        if answer_format == "Native" and question.protocol:
            body = _reframed(body, question.protocol)
        return Reply(
            format=answer_format,
            body=body,
            read_rows=0 if alone else int(result.storage_rows_read()),
            read_bytes=0 if alone else int(result.storage_bytes_read()),
            elapsed_ns=elapsed_ns,
        )
    finally:
        handle.close()


def _settings(asked: Mapping[str, str]) -> dict[str, str]:
    """What the client asks for beyond the ceilings: lower limits, and harmless settings as they are."""
    settings: dict[str, str] = {}
    for name, value in asked.items():
        if name in _CEILINGS:
            settings[name] = str(_lower(name, value))
        elif name in _ALLOWED or (name.startswith(_ALLOWED_PREFIXES) and name.isidentifier() and name not in _REFUSED):
            settings[name] = value
        else:
            raise SqlError(READONLY, f"Cannot modify '{name[:60]}' setting in readonly mode: leave it out")
    return settings


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    if settings:
        pairs = ", ".join(f"{name} = {_quote(value)}" for name, value in settings.items())
        _run(handle, f"SET {pairs}", "TabSeparated", {})


def _lower(name: str, value: str) -> int:
    try:
        wanted = int(float(value))
    except (ValueError, OverflowError):
        raise SqlError((72, "CANNOT_PARSE_NUMBER"), f"Setting {name} must be a number") from None
    return min(wanted, _CEILINGS[name]) if wanted > 0 else _CEILINGS[name]


def _run(handle: Any, sql: str, answer_format: str, params: Mapping[str, str]) -> Any:
    try:
        return handle.query(sql, answer_format, params=dict(params))
    except RuntimeError as error:
        raise from_engine(error) from None


def _reframed(body: bytes, protocol: int) -> bytes:
    try:
        return reframe(body, protocol)
    except Unframable as error:
        raise SqlError(NOT_IMPLEMENTED, str(error)) from None


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
