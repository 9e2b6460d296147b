"""The simulators' formats, judged by the providers' official SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from infra.simulators import FAULTS, ProviderScript, RunningSimulators, start_simulators

pytestmark = pytest.mark.asyncio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
QUESTION = "Why is the sky blue?"
BOTH = "Call both, please."
LONG = "a" * 8192
SCRIPTS = {
    name: ProviderScript(
        format=name, latency_ms=2.0, latency_sigma=0.0, reasoning_share=0.5, cached_share=0.5, cache_write_share=0.25
    )
    for name in ("openai", "anthropic", "google")
}
STATUSES = [fault for fault in FAULTS if fault.startswith("status_")]


@pytest_asyncio.fixture
async def simulators() -> AsyncIterator[RunningSimulators]:
    async with await start_simulators(SCRIPTS, seed=7) as running:
        yield running


async def post(simulators: RunningSimulators, name: str, *, stream: bool = False) -> httpx.Response:
    """A raw question in the provider's format."""
    messages = [{"role": "user", "content": QUESTION}]
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21", "x-goog-api-key": "k"}
    body: dict[str, Any] = {"model": "m-1", "messages": messages, "stream": stream}
    path = "/chat/completions"
    if name == "anthropic":
        path, body = "/messages", body | {"max_tokens": 500}
    elif name == "google":
        path = "/models/m-1:streamGenerateContent?alt=sse" if stream else "/models/m-1:generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
    async with httpx.AsyncClient(trust_env=False, timeout=5.0, headers=headers) as client:
        return await client.post(simulators.base_url(name) + path, json=body)


async def test_openai_sdk(simulators: RunningSimulators) -> None:
    sdk = pytest.importorskip("openai", reason="the openai SDK is not installed")
    client = sdk.AsyncOpenAI(base_url=simulators.base_url("openai"), api_key="k", max_retries=0)
    tools = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in ("weather", "news")]

    async def ask(text: str = QUESTION, **more: Any) -> Any:
        return await client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": text}], **more)

    whole = (await ask()).choices[0].message.content
    word = whole.split(" ")[3]
    cut = (await ask(stop=[word])).choices[0]
    assert whole.startswith(cut.message.content) and word not in cut.message.content and cut.finish_reason == "stop"
    assert (await ask(seed=1)).choices[0].message.content != (await ask(seed=2)).choices[0].message.content
    usage = (await ask(LONG)).usage
    assert usage.prompt_tokens_details.cached_tokens == 1024
    assert usage.completion_tokens_details.reasoning_tokens > 0
    called = (await ask(BOTH, tools=tools)).choices[0]
    assert [call.function.name for call in called.message.tool_calls] == ["weather", "news"]
    assert len({call.id for call in called.message.tool_calls}) == 2 and called.finish_reason == "tool_calls"
    one = await ask(BOTH, tools=tools, tool_choice="required", parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1
    arguments = ["", ""]
    async for chunk in await ask(BOTH, tools=tools, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            arguments[delta.index] += delta.function.arguments
    assert arguments == [call.function.arguments for call in called.message.tool_calls]
    for fault, kind in (("status_429", sdk.RateLimitError), ("status_401", sdk.AuthenticationError)):
        simulators.control("openai", fault)
        with pytest.raises(kind):
            await ask()
    await client.close()


async def test_anthropic_sdk(simulators: RunningSimulators) -> None:
    sdk = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    client = sdk.AsyncAnthropic(base_url=simulators.root_url("anthropic"), api_key="k", max_retries=0)
    tools = [{"name": n, "input_schema": SCHEMA} for n in ("weather", "news")]

    async def ask(text: str = QUESTION, max_tokens: int = 500, **more: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return await client.messages.create(model="m-1", max_tokens=max_tokens, messages=messages, **more)

    whole = await ask()
    text = whole.content[0].text
    assert whole.stop_reason == "end_turn" and text and whole._request_id.startswith("req_anthropic_")
    word = text.split(" ")[3]
    cut = await ask(stop_sequences=[word])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word) and text.startswith(cut.content[0].text)
    assert (await ask(max_tokens=3)).stop_reason == "max_tokens"
    usage = (await ask(LONG)).usage
    assert usage.cache_read_input_tokens == 1024 and usage.cache_creation_input_tokens == 257
    assert usage.input_tokens + 1024 + 257 == 2052 and usage.output_tokens_details.thinking_tokens > 0
    called = await ask(BOTH, tools=tools)
    assert called.stop_reason == "tool_use" and [block.name for block in called.content] == ["weather", "news"]
    assert called.content[0].input["days"] == 3
    shaped = await ask(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert orjson.loads(shaped.content[0].text)["days"] == 3
    kinds, parts = set(), {0: "", 1: ""}
    async for event in await ask(BOTH, tools=tools, thinking={"type": "adaptive"}, stream=True):
        kinds.add(event.type)
        if event.type == "content_block_delta":
            kinds.add(event.delta.type)
            if event.delta.type == "input_json_delta":
                parts[event.index - 1] += event.delta.partial_json
        elif event.type == "message_delta":
            assert event.delta.stop_reason == "tool_use" and event.usage.output_tokens == called.usage.output_tokens
    assert [orjson.loads(parts[at]) for at in (0, 1)] == [block.input for block in called.content]
    assert {"message_start", "content_block_start", "content_block_stop", "message_stop"} <= kinds
    assert {"thinking_delta", "signature_delta"} <= kinds
    for fault, kind in (
        ("status_429", sdk.RateLimitError),
        ("status_401", sdk.AuthenticationError),
        ("status_529", sdk.APIStatusError),
        ("quota", sdk.BadRequestError),
    ):
        simulators.control("anthropic", fault)
        with pytest.raises(kind):
            await ask()
    simulators.control("anthropic", "stream_error_event")
    with pytest.raises(sdk.APIStatusError):
        async for _ in await ask(stream=True):
            pass
    simulators.control("anthropic", "content_filter")
    assert (await ask()).stop_reason == "refusal"
    simulators.control("anthropic", None)
    assert [model.id async for model in client.models.list()] == ["anthropic-chat"]
    await client.close()


async def test_google_sdk(simulators: RunningSimulators) -> None:
    genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed")
    options = {"base_url": simulators.root_url("google"), "api_version": "v1beta"}
    client = genai.Client(api_key="k", http_options=options).aio
    declared = [{"name": n, "parameters_json_schema": SCHEMA} for n in ("weather", "news")]

    async def ask(text: str = QUESTION, **config: Any) -> Any:
        return await client.models.generate_content(model="m-1", contents=text, config=config)

    whole = await ask()
    assert whole.text and whole.candidates[0].finish_reason == "STOP" and whole.response_id
    word = whole.text.split(" ")[3]
    cut = await ask(stop_sequences=[word])
    assert whole.text.startswith(cut.text) and word not in cut.text
    assert (await ask(max_output_tokens=3)).candidates[0].finish_reason == "MAX_TOKENS"
    usage = (await ask(LONG)).usage_metadata
    assert usage.cached_content_token_count == 1024 and usage.thoughts_token_count > 0
    called = await ask(BOTH, tools=[{"function_declarations": declared}])
    assert [call.name for call in called.function_calls] == ["weather", "news"]
    assert called.candidates[0].finish_reason == "STOP" and called.function_calls[0].args["days"] == 3
    shaped = await ask(response_mime_type="application/json", response_json_schema=SCHEMA)
    assert orjson.loads(shaped.text)["days"] == 3
    texts, last = [], None
    async for last in await client.models.generate_content_stream(model="m-1", contents=QUESTION):
        texts.append(last.text or "")
    assert "".join(texts) == whole.text and last is not None and last.candidates[0].finish_reason == "STOP"
    for fault, code in (("status_429", 429), ("status_401", 401), ("status_529", 503)):
        simulators.control("google", fault)
        with pytest.raises(genai.errors.APIError) as caught:
            await ask()
        assert caught.value.code == code
    simulators.control("google", "prompt_blocked")
    blocked = await ask()
    assert blocked.candidates is None and blocked.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
    await client.aclose()


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("fault", [*STATUSES, "quota", "context_length"])
async def test_status_faults_in_each_shape(simulators: RunningSimulators, name: str, fault: str) -> None:
    simulators.control(name, fault)
    response = await post(simulators, name)
    body = response.json()
    assert response.status_code >= 400 and body["error"]["message"]
    if name == "anthropic":
        assert body["type"] == "error" and body["request_id"] == response.headers["request-id"]
    elif name == "google":
        assert body["error"]["code"] == response.status_code and body["error"]["status"].isupper()
        details = orjson.dumps(body["error"].get("details", []))
        assert (b"PerDay" in details) is (fault == "quota")
        assert (b"retryDelay" in details) is (fault in ("quota", "status_429"))


@pytest.mark.parametrize("name", SCRIPTS)
async def test_damage_and_streams_in_each_shape(simulators: RunningSimulators, name: str) -> None:
    for stream in (False, True):
        simulators.control(name, "nan")
        assert b":NaN" in (await post(simulators, name, stream=stream)).content
        simulators.control(name, "invalid_utf8")
        with pytest.raises(UnicodeDecodeError):
            (await post(simulators, name, stream=stream)).content.decode()
        for fault in ("empty_completion", "content_filter", "error_in_200"):
            simulators.control(name, fault)
            assert (await post(simulators, name, stream=stream)).status_code == 200
    simulators.control(name, "stream_cut", stall_after=2)
    with pytest.raises(httpx.RemoteProtocolError):
        await post(simulators, name, stream=True)
    for fault, holds in (("stream_error_event", True), ("stream_no_finish", False)):
        simulators.control(name, fault)
        text = (await post(simulators, name, stream=True)).text
        assert ('"error":{' in text) is holds
        ended = ('"finish_reason":"stop"', "message_delta", "finishReason")
        assert not any(mark in text for mark in ended)


async def test_what_a_request_must_bring(simulators: RunningSimulators) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = simulators.base_url("anthropic") + "/messages"
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
        assert (await client.post(url, json=body)).status_code == 401
        keyed = {"x-api-key": "k"}
        assert "anthropic-version" in (await client.post(url, json=body, headers=keyed)).json()["error"]["message"]
        keyed["anthropic-version"] = "2023-06-01"
        missing = {key: value for key, value in body.items() if key != "max_tokens"}
        assert "max_tokens" in (await client.post(url, json=missing, headers=keyed)).json()["error"]["message"]
        answered = await client.post(url, json=body, headers=keyed)
        assert answered.status_code == 200 and "anthropic-ratelimit-requests-reset" in answered.headers
        google = simulators.base_url("google") + "/models/m:generateContent"
        assert (await client.post(google, json={"contents": []})).status_code == 403
        with pytest.raises(httpx.ConnectError):
            await client.post(simulators.refusing_url("google") + "/models/m:generateContent", json={})


async def test_a_context_window_refuses_or_ends_the_answer() -> None:
    script = ProviderScript(format="anthropic", latency_ms=1.0, context_window=12)
    async with await start_simulators({"anthropic": script}) as running:
        response = await post(running, "anthropic")
        assert response.json()["stop_reason"] == "model_context_window_exceeded"
    script = ProviderScript(format="google", latency_ms=1.0, context_window=8)
    async with await start_simulators({"google": script}) as running:
        assert (await post(running, "google")).json()["error"]["status"] == "INVALID_ARGUMENT"
