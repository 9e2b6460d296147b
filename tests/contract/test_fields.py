"""Every documented field of a chat body, on every provider: sent, or filtered, or refused with a sentence. The list of what
is left out because it changes no answer is closed, and stands here."""

import re
from typing import Any

import orjson
import pytest

from agents.execution import classify
from agents.execution.providers import PROVIDERS
from agents.following import exhausted
from schemas.catalog import Deployment
from schemas.requests import parse_request
from schemas.responses import AttemptSummary

params = pytest.importorskip("openai.types.chat.completion_create_params", reason="the openai SDK is not installed")

USER = {"role": "user", "content": "Hi."}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "f"}}
# A value that says more than the field's absence; what a field needs beside it comes with it.
VALUES: dict[str, dict[str, Any]] = {
    "audio": {"audio": {"voice": "alloy", "format": "wav"}},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "function_call": {"function_call": {"name": "f"}},
    "functions": {"functions": [{"name": "f"}]},
    "logit_bias": {"logit_bias": {"50256": -100}},
    "logprobs": {"logprobs": True},
    "max_completion_tokens": {"max_completion_tokens": 7},
    "max_tokens": {"max_tokens": 7},
    "messages": {"messages": [USER, {"role": "assistant", "content": "Yes?"}, USER]},
    "metadata": {"metadata": {"a": "b"}},
    "modalities": {"modalities": ["text", "audio"]},
    "model": {"model": "m-2"},
    "moderation": {"moderation": {"model": "omni"}},
    "n": {"n": 2},
    "parallel_tool_calls": {"tools": [TOOL], "parallel_tool_calls": False},
    "prediction": {"prediction": {"type": "content", "content": "a"}},
    "presence_penalty": {"presence_penalty": 0.5},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "explicit"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "reasoning_effort": {"reasoning_effort": "low"},
    "response_format": {"response_format": SCHEMA},
    "safety_identifier": {"safety_identifier": "u-1"},
    "seed": {"seed": 4},
    "service_tier": {"service_tier": "flex"},
    "stop": {"stop": ["a"]},
    "store": {"store": True},
    "stream_options": {"stream": True, "stream_options": {"include_obfuscation": False}},
    "temperature": {"temperature": 0.3},
    "tool_choice": {"tools": [TOOL], "tool_choice": CALL},
    "tools": {"tools": [TOOL]},
    "top_logprobs": {"top_logprobs": 2},
    "top_p": {"top_p": 0.5},
    "user": {"user": "u-1"},
    "verbosity": {"verbosity": "low"},
    "web_search_options": {"web_search_options": {"search_context_size": "low"}},
}
# Who asks, how a cache is found, how a stream is padded: without them the answer is the same. `model` is ours to choose:
# what is sent in its place is the deployment's.
NO_MATTER = frozenset({
    "metadata", "model", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "stream_options", "user",
})  # fmt: skip
# What a model must be able to do for the field, or not refuse; routing leaves out the others.
NEEDS = {
    "tools": "tools", "tool_choice": "forced_tool", "parallel_tool_calls": "tools", "response_format": "json_schema",
    "temperature": "sampling", "top_p": "sampling",
}  # fmt: skip
SENTENCE = re.compile(r"[A-Z][^\n]*\.")


def sent(provider: str, body: dict[str, Any]) -> dict[str, Any]:
    to = Deployment(id="d", provider=provider, model="m", base_url="http://h/v1")  # type: ignore[arg-type]
    stream = bool(body.get("stream"))
    read: dict[str, Any] = orjson.loads(PROVIDERS[provider].request(to, body, stream)[2])
    return read


def test_the_walk_knows_every_documented_field() -> None:
    documented = set(params.CompletionCreateParamsBase.__annotations__)
    assert VALUES.keys() == documented, "the SDK has other fields now; say here what becomes of them"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("field", VALUES)
def test_a_field_is_sent_or_refused_with_a_sentence(provider: str, field: str) -> None:
    body = {"messages": [USER]} | VALUES[field]
    without = {"messages": [USER]} | {name: value for name, value in VALUES[field].items() if name != field}
    beyond = PROVIDERS[provider].unsupported(body)
    if not beyond:
        assert sent(provider, body) != sent(provider, without) or field in NO_MATTER
        return
    assert {name.partition(".")[0] for name in beyond} == {field}
    # What the caller reads where no other deployment can do it: it names the field.
    failed = classify.beyond_format(beyond, latency_ms=0.0)
    assert (failed.other, failed.billed, failed.counts) == ("any", "no", False)
    tried = [AttemptSummary(1, "d", "primary", "failed", failed.failure.value, 0, 0.0, 0)]
    error = exhausted(tried, failed, held_back=False)
    assert error.code == "provider_rejected" and SENTENCE.fullmatch(error.message)
    assert field in error.message


@pytest.mark.parametrize("field", NEEDS)
def test_a_field_that_a_model_must_be_able_to_serve_filters(field: str) -> None:
    body = orjson.dumps({"messages": [USER]} | VALUES[field])
    assert NEEDS[field] in parse_request(body, max_bytes=10_000).needs


@pytest.mark.parametrize("provider", PROVIDERS)
def test_who_asks_and_where_a_cache_is_never_stands_in_the_way(provider: str) -> None:
    for field in NO_MATTER:
        assert PROVIDERS[provider].unsupported({"messages": [USER]} | VALUES[field]) == ()


@pytest.mark.parametrize("provider", ["anthropic", "google"])
@pytest.mark.parametrize("choice", ["required", CALL], ids=["required", "named"])
def test_a_call_that_no_tool_can_answer_is_refused(provider: str, choice: Any) -> None:
    """OpenAI refuses it itself; a format that has no place for it must not make free text of it."""
    assert PROVIDERS[provider].unsupported({"messages": [USER], "tool_choice": choice}) == ("tool_choice",)
    assert PROVIDERS[provider].unsupported({"messages": [USER], "tool_choice": "none"}) == ()
