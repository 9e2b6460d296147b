"""The read-only HTTP door: what ClickHouse's own clients expect of a server, over the embedded engine."""

import asyncio
import errno
import gzip
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from infra.sql.account import ANYONE, Account, authenticate
from infra.sql.engine import Engine
from infra.sql.errors import (
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    SYNTAX_ERROR,
    TOO_MANY_QUERIES,
    EngineUnavailable,
    SqlError,
)
from infra.sql.reader import Question, Reply, ask
from infra.sql.roles import Role

__all__ = ["Account", "RunningDoor", "start_door"]

_MAX_BODY_BYTES: Final = 16 * 2**20
_COMPRESS_FROM_BYTES: Final = 1024
# Parameters of the HTTP interface itself: they are no settings of the engine, and none changes what a reader may do.
_TRANSPORT: Final = frozenset(
    {"query", "database", "user", "password", "session_id", "session_timeout", "session_check", "close_session", "query_id",
     "quota_key", "compress", "decompress", "default_format", "wait_end_of_query", "buffer_size", "client_protocol_version",
     "stacktrace", "cancel_http_readonly_queries_on_client_close", "enable_http_compression", "http_zlib_compression_level",
     "http_make_head_request", "add_http_cors_header",
     "send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_write_exception_in_output_format"}
)  # fmt: skip
_CONTENT_TYPES: Final = (
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", "application/json; charset=UTF-8"),
    ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
    ("CSV", "text/csv; charset=UTF-8; header=absent"),
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("XML", "application/xml; charset=UTF-8"),
)
_BINARY: Final = ("Native", "RowBinary", "Arrow", "Parquet", "ORC", "Avro", "MsgPack", "BSON", "Npy")
_CORS: Final = {
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Max-Age": "86400",
}


@dataclass(slots=True)
class RunningDoor:
    """A door that listens; leaving the context, or `close()`, stops it and waits for the running queries."""

    host: str
    port: int
    _runner: web.AppRunner
    _threads: ThreadPoolExecutor

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def close(self) -> None:
        await self._runner.cleanup()
        await asyncio.to_thread(self._threads.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def start_door(
    engine: Engine,
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    users: Mapping[str, Account] = ANYONE,
    readers: int = 2,
    queue: int = 64,
) -> RunningDoor:
    """Listen; port 0 takes any free one. `readers` statements run at once, `queue` wait, the next is refused (202).

    Raises `EngineUnavailable` when the port is taken. The engine stays the caller's: close the door first.
    """
    threads = ThreadPoolExecutor(readers, thread_name_prefix="sql-reader")
    desk = _Desk(engine, dict(users), threads, readers, queue)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_get("/ping", _ok)
    app.router.add_get("/replicas_status", _ok)
    app.router.add_route("GET", "/", desk.answer)
    app.router.add_route("POST", "/", desk.answer)
    app.router.add_route("OPTIONS", "/", desk.options)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        threads.shutdown(wait=False)
        if error.errno == errno.EADDRINUSE:
            raise EngineUnavailable(
                f"port {port} on {host} is taken: stop what listens there, or choose another SQL port"
            ) from None
        raise EngineUnavailable(
            f"cannot listen on {host}:{port}: choose an address of this machine and a free port"
        ) from error
    return RunningDoor(host, runner.addresses[0][1], runner, threads)


async def _ok(request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


@dataclass(slots=True)
class _Desk:
    """Answers requests; at most `readers` at once reach the engine."""

    engine: Engine
    users: Mapping[str, Account]
    threads: ThreadPoolExecutor
    readers: int
    queue: int
    gate: asyncio.Semaphore = field(init=False)
    inside: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(self.readers)

    async def options(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=self._headers("") | _CORS)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = self._headers(request.query.get("query_id") or str(uuid.uuid4()))
        try:
            role = self.users[authenticate(request, self.users)].role
            question = await _question(request)
            if not question.sql.strip():
                if request.method == "GET" and not request.query_string:
                    return web.Response(text="Ok.\n", headers=headers)
                raise SqlError(SYNTAX_ERROR, "Empty query: send the statement as ?query= or as the body")
            reply = await self._ask(question, role)
        except SqlError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            if error.code == 516:
                headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            return web.Response(status=error.http_status, text=error.body, headers=headers)
        return _response(request, reply, headers)

    async def _ask(self, question: Question, role: Role) -> Reply:
        if self.inside >= self.readers + self.queue:
            raise SqlError(TOO_MANY_QUERIES, "Too many simultaneous queries: try again when others have ended")
        self.inside += 1
        try:
            async with self.gate:
                return await asyncio.get_running_loop().run_in_executor(self.threads, ask, self.engine, question, role)
        finally:
            self.inside -= 1

    def _headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Query-Id": "".join(letter for letter in query_id if letter.isprintable())[:200],
            "X-ClickHouse-Server-Display-Name": "turnout",
            "X-ClickHouse-Timezone": self.engine.timezone,
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "*",
        }


async def _question(request: web.Request) -> Question:
    """The statement of a request. aiohttp has already undone chunks and gzip."""
    fields: dict[str, str] = dict(request.query)
    body = ""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate", ""):
        raise SqlError(
            NOT_IMPLEMENTED,
            f"Content-Encoding {encoding[:20]} is not supported by this read-only door: use gzip or none",
        )
    try:
        if request.content_type == "multipart/form-data":
            for name, value in (await request.post()).items():
                if not isinstance(value, str):
                    raise SqlError(
                        NOT_IMPLEMENTED, "External data is not supported here: put the values into the statement"
                    )
                fields.setdefault(name, value)
        else:
            body = (await request.read()).decode()
    except web.HTTPRequestEntityTooLarge:
        raise SqlError(
            QUERY_IS_TOO_LARGE, f"The statement is larger than {_MAX_BODY_BYTES} bytes: shorten it"
        ) from None
    except UnicodeDecodeError:
        raise SqlError(SYNTAX_ERROR, "The statement is not UTF-8 text: send it as UTF-8") from None
    if "1" in (fields.get("compress"), fields.get("decompress")):
        raise SqlError(NOT_IMPLEMENTED, "compress=1 and decompress=1 are not supported: use Accept-Encoding: gzip")
    protocol = fields.get("client_protocol_version", "0")
    if not (protocol.isascii() and protocol.isdigit()):
        raise SqlError((72, "CANNOT_PARSE_NUMBER"), "client_protocol_version must be a whole number")
    return Question(
        sql="\n".join(part for part in (fields.get("query", ""), body) if part),
        database=fields.get("database", "") or request.headers.get("X-ClickHouse-Database", ""),
        default_format=request.headers.get("X-ClickHouse-Format") or fields.get("default_format") or "TabSeparated",
        params={name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")},
        settings={k: v for k, v in fields.items() if k not in _TRANSPORT and not k.startswith("param_")},
        protocol=int(protocol),
    )


def _response(request: web.Request, reply: Reply, headers: dict[str, str]) -> web.Response:
    summary = {
        "read_rows": str(reply.read_rows),
        "read_bytes": str(reply.read_bytes),
        "written_rows": "0",
        "written_bytes": "0",
        "result_bytes": str(len(reply.body)),
        "elapsed_ns": str(reply.elapsed_ns),
    }
    headers["X-ClickHouse-Format"] = reply.format
    headers["X-ClickHouse-Summary"] = json.dumps(summary)
    headers["Content-Type"] = _content_type(reply.format)
    body = reply.body
    wanted = request.query.get("enable_http_compression", "1") != "0"
    if wanted and len(body) >= _COMPRESS_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def _content_type(name: str) -> str:
    if name.startswith(_BINARY):
        return "application/octet-stream"
    return next((kind for prefix, kind in _CONTENT_TYPES if name.startswith(prefix)), "text/plain; charset=UTF-8")
