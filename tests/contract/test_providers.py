"""Every wire format against its simulator, streaming or not, and against the provider's official SDK."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.execution.outcome import Failed, Outcome, Succeeded
from infra.simulators import ProviderScript, RunningSimulators, start_simulators
from schemas.catalog import Deployment

TLS = httpx.create_ssl_context(trust_env=False)
FORMATS = {"openai": "openai", "openai_compatible": "openai", "anthropic": "anthropic", "google": "google"}
SCRIPTS = {
    name: ProviderScript(
        format=shape, latency_ms=2.0, latency_sigma=0.0, reasoning_share=0.5, cached_share=0.5, cache_write_share=0.25
    )
    for name, shape in FORMATS.items()
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
QUESTION = "Why is the sky blue?"
BOTH = "Call both, please."
LONG = "a" * 8192
PIXEL = "iVBORw0KGgo="
TOOLS = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in ("weather", "news")]
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY = pytest.mark.parametrize("name", FORMATS)


@pytest_asyncio.fixture
async def simulators() -> AsyncIterator[RunningSimulators]:
    async with await start_simulators(SCRIPTS, seed=7) as running:
        yield running


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    one = Caller(Credentials({"KEY": "k"}), tls=TLS)
    yield one
    await one.aclose()


def deployment(simulators: RunningSimulators, name: str, **more: Any) -> Deployment:
    url = simulators.base_url(name)
    return Deployment(id=name, provider=name, model="m-1", base_url=url, api_key="env:KEY", **more)  # type: ignore[arg-type]


def asked(text: Any = QUESTION, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 500, **more}


async def send(caller: Caller, to: Deployment, body: dict[str, Any], stream: bool, seen: list[Any]) -> Outcome:
    deadline = asyncio.get_running_loop().time() + 5
    if not stream:
        return await caller.call(to, body, deadline=deadline, attempt_id="a")
    return await caller.stream(to, body, deadline=deadline, attempt_id="a", on_delta=seen.append)


async def ask(caller: Caller, to: Deployment, body: dict[str, Any], stream: bool) -> Succeeded:
    """The answer, checked against its deltas."""
    seen: list[dict[str, Any]] = []
    outcome = await send(caller, to, body, stream, seen)
    assert isinstance(outcome, Succeeded), outcome
    if stream:
        assert {chunk["object"] for chunk in seen} == {"chat.completion.chunk"}
        assert text_of(seen) == (message(outcome).get("content") or "")
        assert seen[-1]["choices"][0]["finish_reason"] == outcome.finish_reason
        assert 0 < outcome.first_token_ms <= outcome.latency_ms
    assert outcome.usage.certain
    assert outcome.usage.tokens_in == outcome.completion["usage"]["prompt_tokens"]
    return outcome


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def message(outcome: Succeeded) -> dict[str, Any]:
    found: dict[str, Any] = outcome.completion["choices"][0]["message"]
    return found


def calls_of(outcome: Succeeded) -> list[tuple[str, Any]]:
    calls = message(outcome).get("tool_calls") or []
    return [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls]


@EVERY
@BOTH_WAYS
async def test_features(caller: Caller, simulators: RunningSimulators, name: str, stream: bool) -> None:
    to = deployment(simulators, name)

    async def get(body: dict[str, Any]) -> Succeeded:
        return await ask(caller, to, body, stream)

    plain = await get(asked())
    words = message(plain)["content"]
    assert words and plain.finish_reason == "stop" and plain.model == "m-1"
    assert message(await get(asked([{"type": "text", "text": QUESTION}])))["content"]
    system = {"messages": [{"role": "system", "content": "Be brief."}, *asked()["messages"]], "max_tokens": 500}
    assert message(await get(system))["content"] != words
    for url in (f"data:image/png;base64,{PIXEL}", "https://example.com/a.png"):
        image = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
        assert (await get(asked(image))).usage.tokens_in > plain.usage.tokens_in + 50
    one = await get(asked("Ask weather.", tools=TOOLS))
    assert [called for called, _ in calls_of(one)] == ["weather"] and one.finish_reason == "tool_calls"
    forced = await get(asked(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "news"}}))
    assert [called for called, _ in calls_of(forced)] == ["news"]
    assert not calls_of(await get(asked(BOTH, tools=TOOLS, tool_choice="none")))
    assert len(calls_of(await get(asked(tools=TOOLS, tool_choice="required")))) == 2
    if name != "google":
        assert len(calls_of(await get(asked(BOTH, tools=TOOLS, parallel_tool_calls=False)))) == 1
    both = await get(asked(BOTH, tools=TOOLS, reasoning_effort="high"))
    assert [called for called, _ in calls_of(both)] == ["weather", "news"]
    assert all(arguments["days"] == 3 for _, arguments in calls_of(both))
    ids = {call["id"] for call in message(both)["tool_calls"]}
    assert len(ids) == 2
    results = [{"role": "tool", "tool_call_id": id, "content": '{"ok": true}'} for id in sorted(ids)]
    turns = [*asked(BOTH)["messages"], message(both), *results]
    after = await get({"messages": turns, "max_tokens": 500, "tools": TOOLS, "reasoning_effort": "high"})
    assert message(after)["content"] and after.finish_reason == "stop"
    shaped = await get(
        asked(response_format={"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}})
    )
    assert orjson.loads(message(shaped)["content"])["days"] == 3
    if name != "anthropic":
        assert isinstance(
            orjson.loads(message(await get(asked(response_format={"type": "json_object"})))["content"]), dict
        )
    word = words.split(" ")[3]
    cut = await get(asked(stop=[word]))
    assert words.startswith(message(cut)["content"]) and word not in message(cut)["content"].split(" ")
    assert cut.finish_reason == "stop"
    assert (await get(asked(max_tokens=3))).finish_reason == "length"
    usage = (await get(asked(LONG))).usage
    assert usage.cached == 1024 and usage.reasoning > 0 and usage.tokens_out > usage.reasoning
    assert usage.tokens_in == 2052 and usage.cache_write == (0 if name == "google" else 257)


@EVERY
async def test_a_stream_says_what_a_whole_answer_says(caller: Caller, simulators: RunningSimulators, name: str) -> None:
    to = deployment(simulators, name)
    for body in (asked(), asked(BOTH, tools=TOOLS), asked(LONG), asked(max_tokens=9)):
        whole, streamed = await ask(caller, to, body, False), await ask(caller, to, body, True)
        assert message(streamed).get("content") == message(whole).get("content")
        assert calls_of(streamed) == calls_of(whole)
        assert (streamed.usage, streamed.finish_reason) == (whole.usage, whole.finish_reason)


@pytest.mark.parametrize("name", ["anthropic", "google"])
@BOTH_WAYS
async def test_thoughts_and_signatures_go_back_unchanged(
    caller: Caller, simulators: RunningSimulators, name: str, stream: bool
) -> None:
    # The simulator refuses a thinking block whose signature does not fit.
    to = deployment(simulators, name)
    thought = await ask(caller, to, asked(BOTH, tools=TOOLS, reasoning_effort="low"), stream)
    said = message(thought)
    assert said["reasoning_content"]
    if name == "anthropic":
        assert said["thinking_blocks"][0]["thinking"] == said["reasoning_content"]
    else:
        assert said["tool_calls"][0]["extra_content"]["google"]["thought_signature"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in said["tool_calls"]]
    again = {"messages": [*asked(BOTH)["messages"], said, *results], "tools": TOOLS, "reasoning_effort": "low"}
    assert message(await ask(caller, to, again, stream))["content"]


FAULTS = {
    "status_500": "server_error", "status_502": "server_error", "status_503": "overloaded", "status_529": "overloaded",
    "status_429": "rate_limited", "status_429_bare": "rate_limited", "quota": "quota_exhausted",
    "status_400": "invalid_request", "context_length": "context_length", "status_401": "authentication",
    "status_403": "authentication", "status_404": "model_not_found", "status_408": "timeout", "status_413": "too_large",
    "error_in_200": "server_error", "garbage": "bad_response", "wrong_content_type": "bad_response",
    "invalid_utf8": "bad_response", "nan": "bad_response", "redirect": "bad_response", "gzip_bomb": "bad_response",
    "reset_before_headers": "bad_response", "empty_completion": "empty_completion",
}  # fmt: skip
STREAM_FAULTS = {
    "stream_cut": "stream_interrupted", "stream_no_finish": "stream_interrupted", "half_body": "stream_interrupted",
    "stream_error_event": "server_error",
}  # fmt: skip


@EVERY
@BOTH_WAYS
async def test_failures(caller: Caller, simulators: RunningSimulators, name: str, stream: bool) -> None:
    to = deployment(simulators, name)
    for fault, failure in {**FAULTS, **(STREAM_FAULTS if stream else {})}.items():
        simulators.control(name, fault)
        seen: list[Any] = []
        outcome = await send(caller, to, asked(), stream, seen)
        assert isinstance(outcome, Failed), fault
        assert outcome.failure == failure, fault
        if fault == "status_429":
            assert outcome.retry_after_ms == 2_000
        if fault == "quota":
            assert outcome.retry_after_ms is None and outcome.quarantine
        if seen and fault != "empty_completion":
            assert outcome.billed == "unknown" and outcome.usage is not None and not outcome.usage.certain
    for fault in ("content_filter", "prompt_blocked"):
        simulators.control(name, fault)
        filtered = await send(caller, to, asked(), stream, [])
        if isinstance(filtered, Failed):
            assert filtered.failure == "content_filtered" and FORMATS[name] == "openai" and fault == "prompt_blocked"
        else:
            assert filtered.finish_reason == "content_filter"


@EVERY
async def test_a_stream_cut_anywhere(caller: Caller, simulators: RunningSimulators, name: str) -> None:
    to, rng = deployment(simulators, name), Random(name)
    whole = message(await ask(caller, to, asked(), True))["content"]
    for _ in range(50):
        simulators.control(name, "stream_cut", stall_after=rng.randrange(0, len(whole) // 20))
        seen: list[dict[str, Any]] = []
        outcome = await send(caller, to, asked(), True, seen)
        assert isinstance(outcome, Failed) and outcome.failure == "stream_interrupted"
        assert whole.startswith(text_of(seen))


async def test_openai_sdk_reads_the_same(caller: Caller, simulators: RunningSimulators) -> None:
    sdk = pytest.importorskip("openai", reason="the openai SDK is not installed")
    client = sdk.AsyncOpenAI(base_url=simulators.base_url("openai"), api_key="k", max_retries=0)
    for body in (asked(), asked(BOTH, tools=TOOLS), asked(LONG)):
        given = {name: value for name, value in body.items() if name != "max_tokens"}
        theirs = await client.chat.completions.create(model="m-1", max_completion_tokens=500, **given)
        for stream in (False, True):
            ours = await ask(caller, deployment(simulators, "openai"), body, stream)
            assert message(ours)["content"] == theirs.choices[0].message.content
            called = theirs.choices[0].message.tool_calls or []
            assert calls_of(ours) == [(c.function.name, orjson.loads(c.function.arguments)) for c in called]
            assert ours.finish_reason == theirs.choices[0].finish_reason
            assert ours.usage.tokens_in == theirs.usage.prompt_tokens
            assert ours.usage.tokens_out == theirs.usage.completion_tokens
            assert ours.usage.cached == theirs.usage.prompt_tokens_details.cached_tokens
            assert ours.usage.reasoning == theirs.usage.completion_tokens_details.reasoning_tokens
            if not stream:
                sdk.types.chat.ChatCompletion.model_validate(ours.completion, strict=True)
    await client.close()


async def test_anthropic_sdk_reads_the_same(caller: Caller, simulators: RunningSimulators) -> None:
    sdk = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    client = sdk.AsyncAnthropic(base_url=simulators.root_url("anthropic"), api_key="k", max_retries=0)
    tools = [{"name": t["function"]["name"], "input_schema": SCHEMA} for t in TOOLS]  # type: ignore[index]
    finish = {"end_turn": "stop", "tool_use": "tool_calls"}
    for text, more in ((QUESTION, {}), (BOTH, {"tools": tools}), (LONG, {})):
        # Blocks, as the adapter sends them: the simulator's answer depends on the body.
        turns = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        theirs = await client.messages.create(model="m-1", max_tokens=500, messages=turns, **more)
        for stream in (False, True):
            body = asked(text, tools=TOOLS) if more else asked(text)
            ours = await ask(caller, deployment(simulators, "anthropic"), body, stream)
            said = "".join(block.text for block in theirs.content if block.type == "text")
            assert (message(ours)["content"] or "") == said
            assert calls_of(ours) == [(b.name, b.input) for b in theirs.content if b.type == "tool_use"]
            assert ours.finish_reason == finish[theirs.stop_reason]
            read, written = theirs.usage.cache_read_input_tokens, theirs.usage.cache_creation_input_tokens
            assert (ours.usage.cached, ours.usage.cache_write) == (read, written)
            assert ours.usage.tokens_in == theirs.usage.input_tokens + read + written
            assert ours.usage.tokens_out == theirs.usage.output_tokens
            assert ours.usage.reasoning == theirs.usage.output_tokens_details.thinking_tokens
    await client.close()


async def test_google_sdk_reads_the_same(caller: Caller, simulators: RunningSimulators) -> None:
    genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed")
    options = {"base_url": simulators.root_url("google"), "api_version": "v1"}
    client = genai.Client(api_key="k", http_options=options).aio
    # The SDK spells one key as parameters_json_schema, which the service takes too; the simulator's answer depends on
    # the very bytes, so the tools go in as the adapter spells them.
    declared = [{"name": t["function"]["name"], "parametersJsonSchema": SCHEMA} for t in TOOLS]  # type: ignore[index]
    tools = {"http_options": {"extra_body": {"tools": [{"functionDeclarations": declared}]}}}
    for text, more in ((QUESTION, {}), (BOTH, tools), (LONG, {})):
        config = {"max_output_tokens": 500, **more}
        theirs = await client.models.generate_content(model="m-1", contents=text, config=config)
        for stream in (False, True):
            body = asked(text, tools=TOOLS) if more else asked(text)
            ours = await ask(caller, deployment(simulators, "google"), body, stream)
            parts = theirs.candidates[0].content.parts
            assert (message(ours)["content"] or "") == "".join(part.text or "" for part in parts)
            called = [(p.function_call.name, p.function_call.args) for p in parts if p.function_call]
            assert calls_of(ours) == called
            assert ours.finish_reason == ("tool_calls" if called else "stop")
            usage = theirs.usage_metadata
            assert ours.usage.tokens_in == usage.prompt_token_count
            assert ours.usage.cached == (usage.cached_content_token_count or 0)
            assert ours.usage.reasoning == (usage.thoughts_token_count or 0)
            assert ours.usage.tokens_out == usage.candidates_token_count + ours.usage.reasoning
    await client.aclose()
