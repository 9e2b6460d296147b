"""Every feature, whole and streamed, on every provider: the official SDK sends the adapter's body to the same simulator and
reads the same answer, and the body is one that its types allow."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from agents.execution.client import Caller
from agents.execution.credentials import Credentials
from agents.execution.outcome import Succeeded
from agents.execution.providers import PROVIDERS
from infra.simulators import ProviderScript, RunningSimulators, start_simulators
from schemas.catalog import Deployment

openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed")

from openai.lib.streaming.chat import ChatCompletionStreamState  # noqa: E402

TLS = httpx.create_ssl_context(trust_env=False)
NAMES = ("openai", "openai_compatible", "anthropic", "google")
SCRIPTS = {
    name: ProviderScript(
        format="openai" if name.startswith("openai") else name, latency_ms=2.0, latency_sigma=0.0, reasoning_share=0.5,
        cached_share=0.5, cache_write_share=0.25,
    )
    for name in NAMES
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
TOOLS = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in ("weather", "news")]


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def image(url: str) -> dict[str, Any]:
    return user([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}])


ASK, BOTH = user("Why is the sky blue?"), user("Call both, please.")
CALLS = [
    {"id": f"call-{name}", "type": "function", "function": {"name": name, "arguments": '{"city": "Oslo", "days": 3}'}}
    for name in ("weather", "news")
]
RESULTS = [{"role": "tool", "tool_call_id": call["id"], "content": '{"ok": true}'} for call in CALLS]
CELLS: dict[str, dict[str, Any]] = {
    "text": ASK,
    "parts": user([{"type": "text", "text": "Why is"}, {"type": "text", "text": "the sky blue?"}]),
    "system": {"messages": [{"role": "system", "content": "Be brief."}, *ASK["messages"]]},
    "turns": {"messages": [*ASK["messages"], {"role": "assistant", "content": "Air."}, {"role": "user", "content": "Why?"}]},
    "image_data": image("data:image/png;base64,iVBORw0KGgo="),
    "image_url": image("https://example.com/a.png"),
    "tool_auto": user("Ask weather.") | {"tools": TOOLS},
    "tool_forced": ASK | {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "news"}}},
    "tool_required": ASK | {"tools": TOOLS, "tool_choice": "required"},
    "tool_none": BOTH | {"tools": TOOLS, "tool_choice": "none"},
    "tools_parallel": BOTH | {"tools": TOOLS},
    "tools_one_by_one": BOTH | {"tools": TOOLS, "parallel_tool_calls": False},
    "tool_results": {
        "messages": [*BOTH["messages"], {"role": "assistant", "content": None, "tool_calls": CALLS}, *RESULTS],
        "tools": TOOLS,
    },
    "json_schema": ASK | {"response_format": {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}},
    "json_object": ASK | {"response_format": {"type": "json_object"}},
    "reasoning": ASK | {"reasoning_effort": "high"},
    "reasoning_tools": BOTH | {"tools": TOOLS, "reasoning_effort": "low"},
    "stop": ASK | {"stop": [" the", "."]},
    "seed": ASK | {"seed": 11},
    "sampling": ASK | {"temperature": 0.2, "top_p": 0.9},
    "limit": ASK | {"max_tokens": 9},
    "cached": user("a" * 8192),
}  # fmt: skip
LACKS = {"anthropic": {"json_object", "seed"}, "google": {"tools_one_by_one"}}
MATRIX = [
    pytest.param(name, cell, stream, id=f"{name}-{cell}-{'stream' if stream else 'whole'}")
    for name in NAMES for cell in CELLS for stream in (False, True) if cell not in LACKS.get(name, ())
]  # fmt: skip


@dataclass(frozen=True)
class Read:
    """An answer as a client reads it. Tokens as in `Usage`: in with cached and written, out with reasoning."""

    text: str
    calls: list[tuple[str, Any]]
    finish: str
    tokens: tuple[int, int, int, int, int]


Peer = Callable[[RunningSimulators, str, dict[str, Any], bool], Awaitable[Read]]


@pytest_asyncio.fixture
async def simulators() -> AsyncIterator[RunningSimulators]:
    async with await start_simulators(SCRIPTS, seed=7) as running:
        yield running


@contextlib.asynccontextmanager
async def calling() -> AsyncIterator[Caller]:
    caller = Caller(Credentials({"KEY": "k"}), tls=TLS)
    try:
        yield caller
    finally:
        await caller.aclose()


def deployment(base_url: str, name: str) -> Deployment:
    return Deployment(id=name, provider=name, model="m-1", base_url=base_url, api_key="env:KEY")  # type: ignore[arg-type]


async def ours(simulators: RunningSimulators, name: str, body: dict[str, Any], stream: bool) -> Read:
    to, deadline = deployment(simulators.base_url(name), name), 1e9
    async with calling() as caller:
        if stream:
            outcome = await caller.stream(to, body, deadline=deadline, attempt_id="a", on_delta=_taken)
        else:
            outcome = await caller.call(to, body, deadline=deadline, attempt_id="a")
    assert isinstance(outcome, Succeeded), outcome
    message, usage = outcome.completion["choices"][0]["message"], outcome.usage
    called = [call["function"] for call in message.get("tool_calls") or []]
    calls = [(one["name"], orjson.loads(one["arguments"])) for one in called]
    tokens = (usage.tokens_in, usage.tokens_out, usage.cached, usage.cache_write, usage.reasoning)
    return Read(message.get("content") or "", calls, outcome.finish_reason, tokens)


async def _taken(_: dict[str, Any]) -> None:
    pass


async def by_openai(simulators: RunningSimulators, name: str, sent: dict[str, Any], stream: bool) -> Read:
    async with openai.AsyncOpenAI(base_url=simulators.base_url(name), api_key="k", max_retries=0) as client:
        if not stream:
            whole = await client.chat.completions.create(**sent)
        else:
            # The SDK's own assembly; its `stream()` would refuse tools that are not strict.
            state = ChatCompletionStreamState()
            async for chunk in await client.chat.completions.create(**sent):
                state.handle_chunk(chunk)
            whole = state.current_completion_snapshot
    choice, usage = whole.choices[0], whole.usage
    called = [call.function for call in choice.message.tool_calls or []]
    details, out = usage.prompt_tokens_details, usage.completion_tokens_details
    tokens = (
        usage.prompt_tokens, usage.completion_tokens, details.cached_tokens, details.cache_write_tokens or 0,
        out.reasoning_tokens,
    )  # fmt: skip
    calls = [(one.name, orjson.loads(one.arguments)) for one in called]
    return Read(choice.message.content or "", calls, choice.finish_reason, tokens)


UNNAMED_BY_ANTHROPIC = frozenset({"temperature", "top_p", "top_k"})


async def by_anthropic(simulators: RunningSimulators, name: str, sent: dict[str, Any], stream: bool) -> Read:
    finish = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
    async with anthropic.AsyncAnthropic(base_url=simulators.root_url(name), api_key="k", max_retries=0) as client:
        # SDK 2 has no argument for what its newest models refuse and the older ones take.
        unnamed = {key: value for key, value in sent.items() if key in UNNAMED_BY_ANTHROPIC}
        named = {key: value for key, value in sent.items() if key not in unnamed | {"stream": stream}}
        if not stream:
            whole = await client.messages.create(**named, extra_body=unnamed)
        else:
            async with client.messages.stream(**named, extra_body=unnamed) as events:
                whole = await events.get_final_message()
    usage = whole.usage
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    thought = usage.output_tokens_details.thinking_tokens
    tokens = (usage.input_tokens + read + written, usage.output_tokens, read, written, thought)
    calls = [(block.name, block.input) for block in whole.content if block.type == "tool_use"]
    text = "".join(block.text for block in whole.content if block.type == "text")
    return Read(text, calls, finish[whole.stop_reason], tokens)


async def by_google(simulators: RunningSimulators, name: str, sent: dict[str, Any], stream: bool) -> Read:
    options = {"base_url": simulators.root_url(name), "api_version": "v1"}
    client = genai.Client(api_key="k", http_options=options).aio
    # The SDK has spellings of its own that the service takes too; the simulator's answer depends on the very bytes.
    given = {"model": "m-1", "contents": "x", "config": {"http_options": {"extra_body": sent}}}
    if stream:
        told = [part async for part in await client.models.generate_content_stream(**given)]
    else:
        told = [await client.models.generate_content(**given)]
    await client.aclose()
    parts = [part for one in told for part in one.candidates[0].content.parts or []]
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    last, usage = told[-1].candidates[0].finish_reason.name, told[-1].usage_metadata
    thought = usage.thoughts_token_count or 0
    out = (usage.candidates_token_count or 0) + thought
    tokens = (usage.prompt_token_count, out, usage.cached_content_token_count or 0, 0, thought)
    finish = "length" if last == "MAX_TOKENS" else "tool_calls" if calls else "stop"
    return Read("".join(part.text or "" for part in parts if not part.thought), calls, finish, tokens)


PEERS: dict[str, Peer] = {
    "openai": by_openai, "openai_compatible": by_openai, "anthropic": by_anthropic, "google": by_google,
}  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "stream"), MATRIX)
async def test_the_sdk_reads_the_same(simulators: RunningSimulators, name: str, cell: str, stream: bool) -> None:
    body = {"max_tokens": 500} | CELLS[cell]
    adapter = PROVIDERS[name]
    assert not adapter.unsupported(body)
    sent = orjson.loads(adapter.request(deployment("http://h/v1", name), body, stream)[2])
    assert await ours(simulators, name, body, stream) == await PEERS[name](simulators, name, sent, stream)


def test_what_is_not_in_the_matrix_is_refused_by_name() -> None:
    fields = {"json_object": "response_format.json_object", "seed": "seed", "tools_one_by_one": "parallel_tool_calls"}
    for name, cells in LACKS.items():
        for cell in cells:
            assert PROVIDERS[name].unsupported(CELLS[cell]) == (fields[cell],)


@pytest.mark.parametrize("name", [name for name in NAMES if "seed" not in LACKS.get(name, ())])
async def test_a_seed_is_heeded(simulators: RunningSimulators, name: str) -> None:
    one, other, again = [await ours(simulators, name, ASK | {"seed": seed}, False) for seed in (1, 2, 1)]
    assert one.text == again.text != other.text


@pytest.mark.parametrize(("name", "cell", "stream"), MATRIX)
def test_a_request_is_one_of_the_sdks_types(name: str, cell: str, stream: bool) -> None:
    sent = orjson.loads(PROVIDERS[name].request(deployment("http://h/v1", name), CELLS[cell], stream)[2])
    if name == "google":
        types = genai.types
        for content in sent["contents"]:
            types.Content.model_validate(content)
        types.GenerateContentConfig.model_validate(sent.get("generationConfig", {}))
        for tool in sent.get("tools", ()):
            types.Tool.model_validate(tool)
        types.ToolConfig.model_validate(sent.get("toolConfig", {}))
        types.Content.model_validate(sent.get("systemInstruction", {}))
        assert sent.keys() <= {"contents", "generationConfig", "tools", "toolConfig", "systemInstruction"}
        return
    from pydantic import TypeAdapter

    if name == "anthropic":
        from anthropic.types import message_create_params as params

        kinds = params.MessageCreateParamsStreaming, params.MessageCreateParamsNonStreaming
        items: Any = anthropic.types.MessageParam
    else:
        from openai.types.chat import completion_create_params as params

        kinds = params.CompletionCreateParamsStreaming, params.CompletionCreateParamsNonStreaming
        items = openai.types.chat.ChatCompletionMessageParam
    kind = kinds[0] if stream else kinds[1]
    TypeAdapter(kind).validate_python(sent)
    # A typed dictionary lets unknown keys pass, and does not look into an Iterable.
    assert sent.keys() - (UNNAMED_BY_ANTHROPIC if name == "anthropic" else set()) <= _keys(kind)
    for message in sent["messages"]:
        TypeAdapter(items).validate_python(message)


def _keys(kind: Any) -> set[str]:
    return {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})} | set(kind.__annotations__)
