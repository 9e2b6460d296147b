"""A call as it goes over a real socket: what a provider may do to it, and what the caller makes of that."""

import asyncio
import gzip
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.execution.outcome import Failed, Outcome, Succeeded
from infra.simulators import ProviderScript, start_simulators
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError
from schemas.failures import Failure

CANARY = "sk-canary-77aa31"
BODY: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "secret prompt"}], "max_tokens": 9}
GOOD = orjson.dumps({
    "id": "c-1", "object": "chat.completion", "model": "m-upstream",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
})  # fmt: skip
ERROR = orjson.dumps({"error": {"message": f"wrong key {CANARY}", "type": "server_error", "code": None}})

# Reading the authorities takes 0.1 s, so once for all tests.
TLS = httpx.create_ssl_context(trust_env=False)

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A provider made of one function that writes to the socket; it keeps the requests it read."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def peer(reply: Reply) -> AsyncIterator[Peer]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                here.heads.append(head)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                here.bodies.append(await reader.readexactly(length))
                await reply(writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            here.left.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    here = Peer(server.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        server.close()


def message(status: int, body: bytes = b"", headers: str = "", kind: str = "application/json") -> bytes:
    type_line = f"content-type: {kind}\r\n" if kind else ""
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{type_line}{headers}\r\n"
    return head.encode("latin-1") + body


def says(raw: bytes, *, close: bool = False) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if close:
            writer.close()

    return reply


def resets(raw: bytes) -> Reply:
    """Send this, wait until it is out, then reset."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return reply


async def hangs(writer: asyncio.StreamWriter) -> None:
    """No answer: the peer goes on reading, until the caller leaves."""


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Every read is in time, the whole never is."""
    writer.write(message(200, GOOD)[: -len(GOOD)])
    for byte in GOOD:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.05)


async def floods(writer: asyncio.StreamWriter) -> None:
    """A body without a length and without an end."""
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + bytes(65536) + b"\r\n"
    while not writer.is_closing():
        writer.write(block)
        await writer.drain()


def deployment(base_url: str, **more: Any) -> Deployment:
    limits = {"connect_s": 2.0, "first_byte_s": 5.0, "total_s": 10.0, **more.pop("timeouts", {})}
    return Deployment(
        **{
            "id": "d-1", "provider": "openai", "model": "m", "upstream_model": "m-upstream", "base_url": base_url,
            "api_key": "env:KEY", "timeouts": limits, **more,
        }
    )  # fmt: skip


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    one = Caller(Credentials({"KEY": f" {CANARY}\n"}), tls=TLS)
    yield one
    await one.aclose()


@pytest.fixture(autouse=True)
def _no_key_in_logs(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text
    assert "secret prompt" not in caplog.text


async def call(caller: Caller, to: Deployment, *, within_s: float = 5.0, **more: Any) -> Outcome:
    deadline = asyncio.get_running_loop().time() + within_s
    return await caller.call(to, BODY, deadline=deadline, attempt_id="r-1/1", traceparent=None, **more)


async def failure_of(caller: Caller, reply: Reply, *, within_s: float = 5.0, **more: Any) -> Failed:
    async with peer(reply) as here:
        outcome = await call(caller, deployment(here.base_url, **more), within_s=within_s)
    assert isinstance(outcome, Failed)
    assert CANARY not in repr(outcome)
    assert "secret prompt" not in repr(outcome)
    return outcome


async def test_an_answer(caller: Caller) -> None:
    async with peer(says(message(200, GOOD, "x-request-id: req_9\r\n"))) as here:
        to = deployment(here.base_url, headers={"OpenAI-Project": "p-1"})
        first = await call(caller, to)
        second = await call(caller, to)
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert first.completion["choices"][0]["message"]["content"] == "Hi."
    assert (first.http_status, first.provider_request_id, first.finish_reason) == (200, "req_9", "stop")
    assert (first.usage.tokens_in, first.usage.tokens_out, first.usage.cached) == (5, 2, 4)
    assert first.model == "m-upstream"
    assert first.first_token_ms == 0.0 < first.latency_ms
    assert here.connections == 1
    head = here.heads[0].lower()
    assert head.startswith(b"post /v1/chat/completions http/1.1\r\n")
    assert b"authorization: bearer " + CANARY.encode() + b"\r\n" in head
    assert b"x-turnout-attempt: r-1/1\r\n" in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"openai-project: p-1\r\n" in head
    assert b"traceparent" not in head
    assert orjson.loads(here.bodies[0]) == {
        "model": "m-upstream", "messages": BODY["messages"], "max_completion_tokens": 9,
    }  # fmt: skip


async def test_traceparent_is_sent_if_it_is_one(caller: Caller) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    async with peer(says(message(200, GOOD))) as here:
        to = deployment(here.base_url)
        deadline = asyncio.get_running_loop().time() + 5
        await caller.call(to, BODY, deadline=deadline, attempt_id="a", traceparent=trace)
        await caller.call(to, BODY, deadline=deadline, attempt_id="a", traceparent="x\r\ny: z")
    assert f"traceparent: {trace}".encode() in here.heads[0]
    assert b"traceparent" not in here.heads[1]


STATUSES: list[tuple[int, dict[str, Any], str, bool, str, bool, int | None]] = [
    (400, {"code": "invalid_value"}, "invalid_request", False, "no", False, None),
    (400, {"code": "context_length_exceeded"}, "context_length", False, "no", False, None),
    (401, {"code": "invalid_api_key"}, "authentication", False, "no", False, None),
    (402, {}, "authentication", False, "no", False, None),
    (403, {}, "authentication", False, "no", False, None),
    (404, {"code": "model_not_found"}, "model_not_found", False, "no", False, None),
    (408, {}, "timeout", True, "unknown", True, 3_000),
    (409, {}, "server_error", False, "no", True, 3_000),
    (413, {}, "too_large", False, "no", False, None),
    (422, {}, "invalid_request", False, "no", False, None),
    (429, {"code": "rate_limit_exceeded"}, "rate_limited", False, "no", False, 3_000),
    (429, {"code": "insufficient_quota"}, "quota_exhausted", False, "no", False, None),
    (500, {}, "server_error", True, "no", True, 3_000),
    (502, {}, "server_error", True, "no", True, 3_000),
    (503, {}, "overloaded", True, "no", False, 3_000),
    (504, {}, "timeout", True, "unknown", True, 3_000),
    (529, {}, "overloaded", True, "no", False, 3_000),
]


@pytest.mark.parametrize(("status", "error", "failure", "counts", "billed", "same", "wait"), STATUSES)
async def test_statuses(
    caller: Caller, status: int, error: dict[str, Any], failure: str, counts: bool, billed: str, same: bool,
    wait: int | None,
) -> None:  # fmt: skip
    body = orjson.dumps({"error": {"message": f"about {CANARY}", "type": None, **error}})
    for advice, expected in (("retry-after: 3\r\n", wait), ("", None)):
        got = await failure_of(caller, says(message(status, body, advice)))
        assert (got.failure, got.http_status, got.counts) == (failure, status, counts)
        assert (got.billed, got.same, got.retry_after_ms) == (billed, same, expected)
        assert got.provider_code == error.get("code", "")


@pytest.mark.parametrize("status", [500, 503, 429, 401])
@pytest.mark.parametrize(
    "raw",
    [
        lambda s: message(s, b"<html>", kind="text/html"),
        lambda s: message(s, b"", kind=""),
        lambda s: message(s, gzip.compress(b"{}"), "content-encoding: gzip\r\n"),
        lambda s: message(s, b"\xff\xfe"),
        lambda s: message(s, ERROR)[:-9],
    ],
)
async def test_a_status_counts_whatever_its_body_is(caller: Caller, status: int, raw: Callable[[int], bytes]) -> None:
    got = await failure_of(caller, says(raw(status), close=True))
    expected = {500: "server_error", 503: "overloaded", 429: "rate_limited", 401: "authentication"}
    assert (got.failure, got.http_status, got.billed) == (expected[status], status, "no")


BAD: dict[str, Reply] = {
    "reset before headers": resets(b""),
    "closed before headers": says(b"", close=True),
    "reset after headers": resets(message(200, GOOD)[: -len(GOOD)]),
    "half a body": says(message(200, GOOD)[:-40], close=True),
    "half a chunked body": says(
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{", close=True
    ),
    "not HTTP": says(b"SSH-2.0-OpenSSH_9\r\n\r\n", close=True),
    "a page": says(message(200, b"<html>It works!</html>", kind="text/html")),
    "garbage": says(message(200, b"{not json")),
    "no body": says(message(200, b"")),
    "no content": says(message(204, b"")),
    "invalid UTF-8": says(message(200, GOOD.replace(b"Hi.", b"\xff\xfe"))),
    "NaN": says(message(200, GOOD.replace(b'"index":0', b'"index":NaN'))),
    "a gzip bomb": says(message(200, gzip.compress(bytes(20_000_000)), "content-encoding: gzip\r\n")),
    "too long": says(message(200, b"")[:-2].replace(b"length: 0", b"length: 99000000") + b"\r\n{"),
    "endless": floods,
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_responses(caller: Caller, what: str) -> None:
    got = await failure_of(caller, BAD[what])
    assert (got.failure, got.counts, got.billed) == (Failure.BAD_RESPONSE, True, "unknown")
    assert (got.same, got.other, got.retry_after_ms, got.ours) == (False, "any", None, False)


@pytest.mark.parametrize("location", ["location: http://127.0.0.1:1/x\r\n", "location: http://[\r\n", ""])
async def test_a_redirect_is_not_followed(caller: Caller, location: str) -> None:
    got = await failure_of(caller, says(message(307, b"", location)))
    assert (got.failure, got.counts, got.same, got.other) == (Failure.BAD_RESPONSE, True, False, "any")


async def test_an_error_inside_a_200(caller: Caller) -> None:
    got = await failure_of(caller, says(message(200, ERROR)))
    assert (got.failure, got.http_status, got.counts) == (Failure.SERVER_ERROR, 200, True)
    limited = orjson.dumps({"error": {"message": "m", "code": "rate_limit_exceeded"}})
    got = await failure_of(caller, says(message(200, limited, "retry-after-ms: 40\r\n")))
    assert (got.failure, got.cool, got.counts, got.retry_after_ms) == (Failure.RATE_LIMITED, True, False, 40)


async def test_an_empty_completion_is_billed_and_a_good_probe(caller: Caller) -> None:
    blank = GOOD.replace(b'"Hi."', b'""')
    got = await failure_of(caller, says(message(200, blank)))
    assert (got.failure, got.billed, got.same, got.counts) == (Failure.EMPTY_COMPLETION, "yes", True, False)
    assert got.usage is not None
    assert got.usage.tokens_in == 5
    async with peer(says(message(200, blank))) as here:
        assert isinstance(await caller.probe(deployment(here.base_url), timeout_s=5), Succeeded)
    assert orjson.loads(here.bodies[0])["max_completion_tokens"] == 1


async def test_a_filtered_answer_is_an_answer(caller: Caller) -> None:
    async with peer(says(message(200, GOOD.replace(b'"stop"', b'"content_filter"')))) as here:
        outcome = await call(caller, deployment(here.base_url))
    assert isinstance(outcome, Succeeded)
    assert outcome.finish_reason == "content_filter"


@pytest.mark.parametrize("reply", [hangs, trickles])
async def test_the_deadline_is_absolute(caller: Caller, reply: Reply) -> None:
    got = await failure_of(caller, reply, within_s=0.3)
    assert (got.failure, got.counts, got.billed, got.same, got.other) == ("timeout", True, "unknown", False, "any")


async def test_limits_of_the_deployment(caller: Caller) -> None:
    got = await failure_of(caller, hangs, timeouts={"connect_s": 0.1, "first_byte_s": 0.1})
    assert (got.failure, got.http_status) == (Failure.TIMEOUT, 0)
    got = await failure_of(caller, trickles, timeouts={"total_s": 0.3})
    assert (got.failure, got.http_status) == (Failure.TIMEOUT, 200)


async def test_a_deadline_in_the_past_sends_nothing(caller: Caller) -> None:
    async with peer(says(message(200, GOOD))) as here:
        outcome = await call(caller, deployment(here.base_url), within_s=-1)
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.counts, outcome.billed, here.connections) == ("timeout", False, "no", 0)


async def test_connection_refused(caller: Caller) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        got = await call(caller, deployment(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert isinstance(got, Failed)
    assert (got.failure, got.counts, got.billed, got.same, got.other) == ("connect", True, "no", True, "any")


async def test_connect_timeout(caller: Caller) -> None:
    """A listener whose queue is full answers no SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        to = deployment(f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeouts={"connect_s": 0.2})
        got = await call(caller, to)
        for one in waiting:
            one.close()
    assert isinstance(got, Failed)
    assert (got.failure, got.billed, got.same) == (Failure.CONNECT, "no", True)


async def test_unknown_host(caller: Caller) -> None:
    got = await call(caller, deployment("http://nowhere.invalid/v1"))
    assert isinstance(got, Failed)
    assert (got.failure, got.billed, got.same) == (Failure.CONNECT, "no", True)


async def test_tls_that_fails_is_not_tried_again_here(caller: Caller) -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
    async with server:
        got = await call(caller, deployment(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"))
    assert isinstance(got, Failed)
    assert (got.failure, got.same, got.other, got.counts, got.billed) == ("connect", False, "any", True, "no")


async def test_cancelling_closes_the_connection(caller: Caller) -> None:
    async with peer(hangs) as here:
        running = asyncio.create_task(call(caller, deployment(here.base_url)))
        async with asyncio.timeout(5):
            while not here.bodies:
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await here.left.wait()


async def test_a_missing_key_sends_nothing(caller: Caller) -> None:
    async with peer(says(message(200, GOOD))) as here:
        outcome = await call(caller, deployment(here.base_url, api_key="env:OTHER"))
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.quarantine, outcome.other, outcome.billed) == ("authentication", True, "any", "no")
    assert here.connections == 0


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"x-a": f"{CANARY}\r\nx-b: 1"}},
        {"headers": {"bad name": "1"}},
        {"base_url": "http://"},
        {"base_url": "http://a:99999999/"},
        {"provider": "google"},
    ],
)
async def test_our_own_fault(caller: Caller, more: dict[str, Any]) -> None:
    outcome = await call(caller, deployment(**{"base_url": "http://127.0.0.1:1/v1", **more}))
    assert isinstance(outcome, Failed)
    assert outcome.ours
    assert (outcome.failure, outcome.counts, outcome.other, outcome.same) == ("invalid_request", False, "none", False)
    assert CANARY not in repr(outcome)


async def test_a_body_that_is_not_json_is_our_fault(caller: Caller) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    body = {"messages": [object()]}
    to = deployment("http://127.0.0.1:1/v1")
    outcome = await caller.call(to, body, deadline=deadline, attempt_id="a", traceparent=None)
    assert isinstance(outcome, Failed)
    assert outcome.ours


async def test_cookies_are_not_kept(caller: Caller) -> None:
    async with peer(says(message(200, GOOD, "set-cookie: a=b; path=/\r\n"))) as here:
        to = deployment(here.base_url)
        await call(caller, to)
        await call(caller, to)
    assert b"cookie" not in here.heads[1].lower()


async def test_many_calls_at_once(caller: Caller) -> None:
    """More than any library's default pool; each needs the others to be under way."""
    count = 300
    arrived = 0
    everyone = asyncio.Event()

    async def reply(writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            everyone.set()
        await everyone.wait()
        writer.write(message(200, GOOD))

    async with peer(reply) as here:
        to = deployment(here.base_url)
        outcomes = await asyncio.gather(*(call(caller, to, within_s=20) for _ in range(count)))
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes)


async def test_a_changed_deployment_or_key_is_used_at_once(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    reference = f"file:{key}"
    caller = Caller(Credentials({}), tls=TLS)
    async with peer(says(message(200, GOOD))) as here:
        await call(caller, deployment(here.base_url, api_key=reference))
        key.write_text("second\n")
        await call(caller, deployment(here.base_url, api_key=reference, upstream_model="other"))
        caller.forget(reference)
        await call(caller, deployment(here.base_url, api_key=reference))
    await caller.aclose()
    keys = [head.lower().split(b"bearer ")[1].split(b"\r\n")[0] for head in here.heads]
    assert keys == [b"first", b"first", b"second"]
    assert orjson.loads(here.bodies[1])["model"] == "other"


def test_credentials_are_named_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + CANARY.encode())
    (tmp_path / "lines").write_text(f"{CANARY}\n{CANARY}\n")
    credentials = Credentials({"GOOD": f"  {CANARY}\r\n", "EMPTY": " ", "BAD": f"{CANARY}\u00e9"})
    assert credentials.header_for(deployment("http://h", api_key="env:GOOD")) == {"authorization": f"Bearer {CANARY}"}
    assert credentials.header_for(deployment("http://h", api_key="")) == {}
    assert credentials.problem(deployment("http://h", api_key="env:GOOD")) is None
    wrong = [
        "env:NONE",
        "env:EMPTY",
        "env:BAD",
        f"file:{tmp_path}/none",
        f"file:{tmp_path}/binary",
        f"file:{tmp_path}/lines",
    ]
    for reference in wrong:
        problem = credentials.problem(deployment("http://h", api_key=reference))
        assert problem is not None
        assert reference in problem
        assert CANARY not in problem
        with pytest.raises(ConfigurationError) as caught:
            credentials.key(reference)
        assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError) as caught:
        credentials.key(CANARY)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(credentials)


SIMULATED = {
    "status_500": "server_error", "status_429": "rate_limited", "quota": "quota_exhausted", "status_529": "overloaded",
    "context_length": "context_length", "status_404": "model_not_found", "reset_before_headers": "bad_response",
    "refuse": "bad_response", "reset_after_headers": "bad_response", "half_body": "bad_response",
    "garbage": "bad_response", "gzip_bomb": "bad_response", "error_in_200": "server_error", "redirect": "bad_response",
    "hang": "timeout", "empty_completion": "empty_completion",
}  # fmt: skip


async def test_simulated_providers(caller: Caller) -> None:
    script = ProviderScript(latency_ms=2.0, latency_sigma=0.0)
    async with await start_simulators({"alpha": script}, seed=3) as running:
        to = deployment(running.base_url("alpha"))
        assert isinstance(await call(caller, to), Succeeded)
        for fault, failure in SIMULATED.items():
            running.control("alpha", fault)
            outcome = await call(caller, to, within_s=0.3 if fault == "hang" else 5.0)
            assert isinstance(outcome, Failed), fault
            assert outcome.failure == failure, fault
        running.control("alpha", None)
        done = await call(caller, to)
        assert isinstance(done, Succeeded)
        bill = running.bill(requests=True)
    assert bill["providers"]["alpha"]["requests"] == len(SIMULATED) + 2
