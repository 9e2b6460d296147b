"""The provider simulators as a client sees them: over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from infra.simulators import FAULTS, Outage, ProviderScript, RunningSimulators, start_simulators
from infra.simulators.faults import BOMB_BYTES
from infra.simulators.script import read_scripts, script_from_json, script_to_json

pytestmark = pytest.mark.asyncio

FAST = ProviderScript(latency_ms=2.0, latency_sigma=0.0, output_tokens_mean=40.0)
ASK: dict[str, Any] = {"model": "m-1", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}


@pytest_asyncio.fixture
async def simulators() -> AsyncIterator[RunningSimulators]:
    async with await start_simulators({"alpha": FAST, "beta": FAST}, seed=7) as running:
        yield running


@pytest_asyncio.fixture
async def client(simulators: RunningSimulators) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{simulators.port}",
        trust_env=False,
        timeout=5.0,
        headers={"accept-encoding": "identity"},
    ) as one:
        yield one


async def ask(client: httpx.AsyncClient, provider: str = "alpha", **more: Any) -> httpx.Response:
    return await client.post(f"/{provider}/v1/chat/completions", json={**ASK, **more})


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


async def raw(port: int, body: dict[str, Any] = ASK) -> tuple[bytes, bool]:
    """(all bytes of the answer until the connection ends, whether it ended with a reset)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = orjson.dumps(body)
    writer.write(
        b"POST /alpha/v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
    )
    got = b""
    try:
        while block := await reader.read(65536):
            got += block
    except ConnectionResetError:
        return got, True
    finally:
        writer.close()
    return got, False


async def billed(simulators: RunningSimulators, count: int, provider: str = "alpha") -> dict[str, Any]:
    """The provider's sums, once `count` requests have ended."""
    async with asyncio.timeout(5):
        while simulators.bill()["providers"][provider]["requests"] < count:
            await asyncio.sleep(0)
    return dict(simulators.bill()["providers"][provider])


async def test_answer_has_the_shape_of_the_format(client: httpx.AsyncClient) -> None:
    response = await ask(client)
    body = response.json()
    assert response.status_code == 200
    assert body["object"] == "chat.completion" and body["model"] == "m-1"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"]["content"].endswith(".")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0
    assert response.headers["x-request-id"].startswith("req_alpha_")
    for what in ("limit", "remaining", "reset"):
        assert f"x-ratelimit-{what}-requests" in response.headers
        assert f"x-ratelimit-{what}-tokens" in response.headers


async def test_same_seed_gives_the_same_answer_and_another_provider_another(client: httpx.AsyncClient) -> None:
    first = (await ask(client)).json()["choices"]
    assert (await ask(client)).json()["choices"] == first
    assert (await ask(client, "beta")).json()["choices"] != first
    assert (await ask(client, messages=[{"role": "user", "content": "Other?"}])).json()["choices"] != first
    for seed, same in ((7, True), (8, False)):
        async with (
            await start_simulators({"alpha": FAST}, seed=seed) as again,
            httpx.AsyncClient(trust_env=False) as other,
        ):
            answer = await other.post(again.base_url("alpha") + "/chat/completions", json=ASK)
        assert (answer.json()["choices"] == first) is same


async def test_stream_joins_to_the_plain_answer(client: httpx.AsyncClient) -> None:
    whole = (await ask(client)).json()
    response = await client.post("/alpha/v1/chat/completions", json=STREAM)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    chunks = events(response.text)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert "".join(texts) == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    without = await ask(client, stream=True)
    assert all("usage" not in chunk and chunk["choices"] for chunk in events(without.text))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_same_text(client: httpx.AsyncClient, field: str) -> None:
    whole = (await ask(client)).json()["choices"][0]["message"]["content"]
    limited: dict[str, Any] = {field: 5}
    cut = (await ask(client, **limited)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    assert whole.startswith(cut["choices"][0]["message"]["content"])


async def test_a_forced_tool_is_called_with_fitting_arguments(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    choice = (await ask(client, tools=tools, tool_choice="required")).json()["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert call["function"]["name"] == "weather"
    arguments = orjson.loads(call["function"]["arguments"])
    assert isinstance(arguments["city"], str) and arguments["days"] == 3
    named = {"type": "function", "function": {"name": "weather"}}
    streamed = events((await ask(client, tools=tools, tool_choice=named, stream=True)).text)
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in streamed[:-1]]
    assert orjson.loads("".join(delta["function"]["arguments"] for delta in deltas)).keys() == arguments.keys()
    assert (await ask(client, tools=tools)).json()["choices"][0]["message"]["content"]
    wrong = await ask(client, tools=tools, tool_choice={"type": "function", "function": {"name": "nothing"}})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "tool_choice"


async def test_json_is_answered_when_asked_for(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    content = (await ask(client, response_format=shape)).json()["choices"][0]["message"]["content"]
    assert orjson.loads(content) == {"ok": True}


async def test_models_are_listed_and_unknown_ones_refused() -> None:
    script = ProviderScript(latency_ms=1.0, models=("m-1",))
    async with await start_simulators({"alpha": script}) as running, httpx.AsyncClient(trust_env=False) as client:
        listed = (await client.get(running.base_url("alpha") + "/models")).json()
        assert [model["id"] for model in listed["data"]] == ["m-1"]
        url = running.base_url("alpha") + "/chat/completions"
        assert (await client.post(url, json=ASK)).status_code == 200
        refused = await client.post(url, json={**ASK, "model": "m-2"})
        assert refused.status_code == 404 and refused.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{not json", None),
        (b"[]", None),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["a"]}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 0}', "max_completion_tokens"),
        (b'{"model": "m", "messages": [{"role": "user"}], "stream_options": {}}', "stream_options"),
    ],
)
async def test_an_unreadable_request_gets_the_providers_400(
    client: httpx.AsyncClient, simulators: RunningSimulators, body: bytes, param: str | None
) -> None:
    response = await client.post("/alpha/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["param"] == param
    assert (await billed(simulators, 1))["outcomes"] == {"rejected": 1}


STATUSES = {
    "status_500": (500, None), "status_502": (502, None), "status_503": (503, "server_is_overloaded"),
    "status_529": (529, "server_is_overloaded"), "status_429": (429, "rate_limit_exceeded"),
    "status_429_bare": (429, "rate_limit_exceeded"), "quota": (429, "insufficient_quota"),
    "status_400": (400, "invalid_value"), "context_length": (400, "context_length_exceeded"),
    "status_401": (401, "invalid_api_key"), "status_403": (403, "permission_denied"),
    "status_404": (404, "model_not_found"), "status_408": (408, None), "status_413": (413, "request_too_large"),
}  # fmt: skip


@pytest.mark.parametrize("fault", STATUSES)
async def test_status_faults(client: httpx.AsyncClient, simulators: RunningSimulators, fault: str) -> None:
    status, code = STATUSES[fault]
    simulators.control("alpha", fault)
    response = await ask(client)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in response.headers) is (fault in ("status_429", "quota"))
    sums = await billed(simulators, 1)
    assert sums["outcomes"] == {fault: 1} and sums["prompt_tokens"] == sums["completion_tokens"] == 0
    simulators.control("alpha", fault, retry_after_s=1.5)
    assert (await ask(client)).headers["retry-after"] == "2"


@pytest.mark.parametrize("fault", ["refuse", "reset_before_headers"])
async def test_resets_before_an_answer(simulators: RunningSimulators, fault: str) -> None:
    simulators.control("alpha", fault)
    assert await raw(simulators.port) == (b"", True)
    sums = await billed(simulators, 1)
    assert sums["outcomes"] == {fault: 1} and sums["prompt_tokens"] == 0 and sums["aborted"] == 0


async def test_reset_after_headers(simulators: RunningSimulators) -> None:
    simulators.control("alpha", "reset_after_headers")
    got, reset = await raw(simulators.port)
    assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n") and reset
    assert (await billed(simulators, 1))["completion_tokens"] > 0


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_half_body_breaks_its_promise(simulators: RunningSimulators, body: dict[str, Any]) -> None:
    simulators.control("alpha", "half_body")
    got, reset = await raw(simulators.port, body)
    head, _, half = got.partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(half) == promised // 2 and not reset


@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_bodies_that_lie(client: httpx.AsyncClient, simulators: RunningSimulators, more: dict[str, Any]) -> None:
    simulators.control("alpha", "garbage")
    response = await ask(client, **more)
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(response.content)
    simulators.control("alpha", "wrong_content_type")
    assert (await ask(client, **more)).headers["content-type"] == "text/html"
    simulators.control("alpha", "invalid_utf8")
    with pytest.raises(UnicodeDecodeError):
        (await ask(client, **more)).content.decode()
    simulators.control("alpha", "nan")
    assert b":NaN" in (await ask(client, **more)).content
    simulators.control("alpha", "error_in_200")
    response = await ask(client, **more)
    assert response.status_code == 200 and response.json()["error"]["type"] == "server_error"
    simulators.control("alpha", "redirect")
    response = await ask(client, **more)
    assert response.status_code == 307 and response.headers["location"]


async def test_gzip_bomb_is_small_on_the_wire(client: httpx.AsyncClient, simulators: RunningSimulators) -> None:
    simulators.control("alpha", "gzip_bomb")
    async with client.stream("POST", "/alpha/v1/chat/completions", json=ASK) as response:
        assert response.headers["content-encoding"] == "gzip"
        size = sum([len(block) async for block in response.aiter_raw()])
    assert size * 500 < BOMB_BYTES


async def test_slow_faults_hold_back_what_they_say(client: httpx.AsyncClient, simulators: RunningSimulators) -> None:
    simulators.control("alpha", "slow", seconds=3600)
    for body in (ASK, STREAM):
        # The head comes although the body is an hour away.
        async with client.stream("POST", "/alpha/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
    simulators.control("alpha", "trickle", seconds=3600)
    async with client.stream("POST", "/alpha/v1/chat/completions", json=ASK) as response:
        assert await anext(response.aiter_raw()) == b"{"
    for fault in ("slow_first_byte", "hang"):
        simulators.control("alpha", fault, seconds=3600)
        for body in (ASK, STREAM):
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/alpha/v1/chat/completions", json=body, timeout=0.05)
    sums = await billed(simulators, 7)
    assert sums["aborted"] == 7
    for fault in ("slow", "slow_first_byte", "trickle"):
        simulators.control("alpha", fault, seconds=0.0)
        assert (await ask(client)).json()["object"] == "chat.completion"


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_and_filtered_answers(
    client: httpx.AsyncClient, simulators: RunningSimulators, stream: bool
) -> None:
    texts = {}
    for fault, finish in (("empty_completion", "stop"), ("content_filter", "content_filter")):
        simulators.control("alpha", fault)
        response = await ask(client, stream=stream)
        if stream:
            chunks = events(response.text)
            texts[fault] = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
            last = chunks[-1]["choices"][0]
        else:
            last = response.json()["choices"][0]
            texts[fault] = last["message"]["content"]
        assert last["finish_reason"] == finish
    assert texts["empty_completion"] == "" != texts["content_filter"]
    assert (await billed(simulators, 2))["prompt_tokens"] > 0


async def test_stream_faults(client: httpx.AsyncClient, simulators: RunningSimulators) -> None:
    simulators.control("alpha", "stream_cut", stall_after=2)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/alpha/v1/chat/completions", json=STREAM)
    # 2 chunks of 4 tokens were sent, and are billed.
    assert (await billed(simulators, 1))["completion_tokens"] == 8
    simulators.control("alpha", "stream_stall", stall_after=1)
    got = b""
    with pytest.raises(httpx.ReadTimeout):
        async with client.stream("POST", "/alpha/v1/chat/completions", json=STREAM, timeout=0.1) as response:
            async for block in response.aiter_raw():
                got += block
    assert len(events(got.decode())) == 2
    assert (await billed(simulators, 2))["aborted"] == 1
    simulators.control("alpha", "stream_error_event")
    chunks = events((await client.post("/alpha/v1/chat/completions", json=STREAM)).text)
    assert chunks[-1]["error"]["type"] == "server_error" and chunks[0]["choices"]
    simulators.control("alpha", "stream_no_finish")
    text = (await client.post("/alpha/v1/chat/completions", json=STREAM)).text
    assert "[DONE]" not in text
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in events(text))
    # A plain request is not a stream: nothing to break.
    assert (await ask(client)).json()["choices"][0]["finish_reason"] == "stop"


async def test_every_fault_is_tried_here() -> None:
    tried = {"refuse", "reset_before_headers", "reset_after_headers", "half_body", "garbage", "wrong_content_type"}
    tried |= {"invalid_utf8", "nan", "error_in_200", "redirect", "gzip_bomb", "slow", "slow_first_byte", "trickle"}
    tried |= {"hang", "empty_completion", "content_filter", "prompt_blocked"}
    tried |= {"stream_cut", "stream_stall", "stream_error_event", "stream_no_finish"}
    assert set(FAULTS) == tried | set(STATUSES)


async def test_control_switches_while_it_runs(client: httpx.AsyncClient) -> None:
    assert (await ask(client)).status_code == 200
    switched = await client.post("/control/alpha", json={"fault": "status_503", "for_s": 3600})
    assert switched.status_code == 200
    assert (await ask(client)).status_code == 503
    assert (await ask(client, "beta")).status_code == 200
    shown = (await client.get("/control")).json()["providers"]
    assert shown["alpha"]["active"]["fault"] == "status_503" and shown["beta"]["active"] is None
    assert script_from_json(shown["alpha"]["script"]) == FAST
    await client.post("/control/alpha", json={"fault": "status_503", "for_s": 0})
    assert (await ask(client)).status_code == 200
    await client.post("/control/alpha", json={"fault": "status_503", "share": 0.5})
    statuses = {(await ask(client)).status_code for _ in range(40)}
    assert statuses == {200, 503}
    await client.post("/control/alpha", json={"fault": None})
    assert (await ask(client)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/control/alpha", {"fault": "status_999"}, "stream_stall"),
        ("/control/alpha", {}, "stream_stall"),
        ("/control/alpha", {"fault": 3}, "stream_stall"),
        ("/control/alpha", {"fault": "hang", "shares": 1}, "shares"),
        ("/control/alpha", {"fault": "hang", "share": 2}, "share"),
        ("/control/alpha", {"fault": "hang", "seconds": "1"}, "seconds"),
        ("/control/nobody", {"fault": "hang"}, "alpha, beta"),
        ("/control", {"fault": "hang"}, "POST /control/NAME"),
    ],
)
async def test_a_wrong_control_request_is_told_what_is_allowed(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], named: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400 and named in response.json()["error"]["message"]


async def test_bill_counts_calls_probes_and_tokens(client: httpx.AsyncClient, simulators: RunningSimulators) -> None:
    usage = (await client.post("/alpha/v1/chat/completions", json=ASK, headers={"x-turnout-attempt": "r-1/2"})).json()[
        "usage"
    ]
    probe = await ask(client, max_completion_tokens=1)
    simulators.control("alpha", "status_500")
    await ask(client)
    simulators.control("alpha", None)
    await billed(simulators, 3)
    bill = (await client.get("/control/bill?requests=1")).json()
    sums = bill["providers"]["alpha"]
    assert (sums["requests"], sums["probes"], sums["aborted"]) == (3, 1, 0)
    assert sums["outcomes"] == {"ok": 2, "status_500": 1}
    assert sums["prompt_tokens"] == 2 * usage["prompt_tokens"]
    assert sums["completion_tokens"] == usage["completion_tokens"] + 1
    calls = [dict(zip(bill["columns"], row, strict=True)) for row in bill["requests"]]
    assert [call["attempt"] for call in calls] == ["r-1/2", None, None]
    assert [call["status"] for call in calls] == [200, 200, 500]
    assert calls[1]["request_id"] == probe.headers["x-request-id"]
    await client.delete("/control/bill")
    assert (await client.get("/control/bill?requests=1")).json()["requests"] == []
    assert simulators.bill()["providers"]["alpha"]["requests"] == 0


async def test_the_list_of_calls_is_bounded_and_its_sums_are_not() -> None:
    async with (
        await start_simulators({"alpha": FAST}, bill_limit=2) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client,
    ):
        for _ in range(3):
            await ask(client)
        assert (await billed(running, 3))["requests"] == 3
        assert len(running.bill(requests=True)["requests"]) == 2


async def test_scripts_bring_limits_outages_mixes_and_usage_details() -> None:
    scripts = {
        "limited": ProviderScript(latency_ms=1.0, requests_per_minute=2),
        "out": ProviderScript(latency_ms=1.0, outages=(Outage(start_s=0, end_s=3600, fault="status_502"),)),
        "later": ProviderScript(latency_ms=1.0, outages=(Outage(start_s=3600, end_s=7200, fault="status_502"),)),
        "mixed": ProviderScript(latency_ms=0.1, errors={"status_500": 0.3, "status_503": 0.3}),
        "thinker": ProviderScript(latency_ms=1.0, reasoning_share=2.0, cached_share=0.5),
        "paced": ProviderScript(latency_ms=1.0, tokens_per_second=20_000.0),
    }
    mixes = []
    for _ in range(2):
        async with (
            await start_simulators(scripts, seed=3) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client,
        ):
            limited = [await ask(client, "limited") for _ in range(3)]
            assert [response.status_code for response in limited] == [200, 200, 429]
            assert limited[0].headers["x-ratelimit-remaining-requests"] == "1"
            assert 0 < int(limited[2].headers["retry-after"]) <= 60
            assert (await ask(client, "out")).status_code == 502
            assert (await ask(client, "later")).status_code == 200
            assert (await ask(client, "paced")).status_code == 200
            usage = (await ask(client, "thinker", messages=[{"role": "user", "content": "a" * 8192}])).json()["usage"]
            assert usage["completion_tokens_details"]["reasoning_tokens"] > usage["completion_tokens"] / 2
            assert usage["prompt_tokens_details"]["cached_tokens"] == 1024
            mixes.append([(await ask(client, "mixed")).status_code for _ in range(30)])
    assert mixes[0] == mixes[1] and set(mixes[0]) == {200, 500, 503}


async def test_wrong_scripts_are_named(tmp_path: Path) -> None:
    file = tmp_path / "scripts.json"
    file.write_bytes(orjson.dumps({"alpha": script_to_json(FAST)}))
    assert read_scripts(file) == {"alpha": FAST}
    for wrong, named in (
        (b"{", "not JSON"),
        (b"[]", "one object"),
        (b'{"alpha": {"latency": 1}}', "latency_ms"),
        (b'{"alpha": {"latency_ms": "fast"}}', "wrong type"),
        (b'{"control": {}}', "control"),
        (b'{"alpha": {"errors": {"status_500": 2}}}', "at most 1"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match=named):
            read_scripts(file)
    with pytest.raises(ValueError, match="stream_stall"):
        await start_simulators({"alpha": ProviderScript(errors={"nothing": 0.1})})


async def test_as_a_process_it_says_where_it_listens_and_ends_on_a_signal() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.simulators", "--port", "0", "--seed", "7", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on 127.0.0.1:")
        async with httpx.AsyncClient(base_url=f"http://{line.split()[-1]}", trust_env=False) as client:
            await client.post("/control/local", json={"fault": "hang"})
            waiting = asyncio.create_task(ask(client, "local"))
            async with asyncio.timeout(5):
                while (await client.get("/control")).json()["providers"]["local"]["requests"] < 1:
                    await asyncio.sleep(0)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
            with pytest.raises(httpx.TransportError):
                await waiting
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
