"""Every fault of the provider simulators, as it looks on the wire."""

from typing import Any

import httpx
import orjson
import pytest
from simulator_world import ASK, STREAM, ask, billed, events, raw

from infra.simulators import FAULTS, RunningSimulators
from infra.simulators.behaviours import BOMB_BYTES

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
