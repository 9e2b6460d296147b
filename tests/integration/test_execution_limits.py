"""A call as it goes over a real socket: its limits, its connections and its keys."""

import asyncio
import socket
from pathlib import Path

import orjson
import pytest
from peer import (
    CANARY,
    GOOD,
    TLS,
    Reply,
    call,
    deployment,
    failure_of,
    hangs,
    message,
    peer,
    says,
    trickles,
)  # fmt: skip

from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.execution.outcome import Failed, Succeeded
from infra.simulators import ProviderScript, start_simulators
from schemas.errors import ConfigurationError
from schemas.failures import Failure

pytestmark = pytest.mark.usefixtures("no_key_in_logs")


@pytest.mark.parametrize("reply", [hangs, trickles])
async def test_the_deadline_is_absolute_and_not_the_deployments_fault(caller: Caller, reply: Reply) -> None:
    got = await failure_of(caller, reply, within_s=0.3)
    assert (got.failure, got.counts, got.billed, got.same, got.other) == ("timeout", False, "unknown", False, "any")


async def test_limits_of_the_deployment(caller: Caller) -> None:
    got = await failure_of(caller, hangs, timeouts={"connect_s": 0.1, "first_byte_s": 0.1})
    assert (got.failure, got.http_status, got.counts) == (Failure.TIMEOUT, 0, True)
    got = await failure_of(caller, trickles, timeouts={"total_s": 0.3})
    assert (got.failure, got.http_status, got.counts) == (Failure.TIMEOUT, 200, True)


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


async def test_a_body_that_is_not_json_is_our_fault(caller: Caller) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    body = {"messages": [object()], "user": CANARY}
    to = deployment("http://127.0.0.1:1/v1")
    outcome = await caller.call(to, body, deadline=deadline, attempt_id="a", traceparent=None)
    assert isinstance(outcome, Failed)
    assert outcome.ours
    assert (outcome.failure, outcome.counts, outcome.other, outcome.same) == ("invalid_request", False, "none", False)
    assert CANARY not in repr(outcome)


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
