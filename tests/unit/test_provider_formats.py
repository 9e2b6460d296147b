"""What each wire format makes of a request: nothing is dropped without a word, nothing breaks it."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.execution.providers import PROVIDERS, anthropic, google, openai
from schemas.catalog import Deployment

USER = {"role": "user", "content": "Hi."}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
FOREIGN = ["anthropic", "google"]
# Every field of a chat body that can change an answer, with a value that does.
FIELDS: dict[str, Any] = {
    "audio": {"voice": "a", "format": "wav"}, "frequency_penalty": 0.5, "function_call": {"name": "f"},
    "functions": [{"name": "f"}], "logit_bias": {"1": 2}, "logprobs": True, "max_completion_tokens": 7,
    "max_tokens": 7, "modalities": ["text", "audio"], "n": 2, "prediction": {"type": "content", "content": "a"},
    "presence_penalty": 0.5, "reasoning_effort": "low", "response_format": {"type": "json_object"}, "seed": 4,
    "service_tier": "flex", "stop": ["a"], "store": True, "temperature": 0.3, "tools": [TOOL], "top_k": 3,
    "top_logprobs": 2, "top_p": 0.5, "verbosity": "low", "web_search_options": {}, "thinking": {"type": "adaptive"},
    "never_heard_of": 1,
}  # fmt: skip


def to(provider: str, **more: Any) -> Deployment:
    return Deployment(**{"id": "d", "provider": provider, "model": "m", "base_url": "http://h/v1", **more})


def sent(provider: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(PROVIDERS[provider].request(to(provider, **more), body, False)[2])
    return read


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_carried_or_named(provider: str, field: str) -> None:
    plain = {"messages": [USER]}
    body = plain | {field: FIELDS[field]}
    if PROVIDERS[provider].unsupported(body):
        assert [name.partition(".")[0] for name in PROVIDERS[provider].unsupported(body)] == [field]
    else:
        assert sent(provider, body) != sent(provider, plain)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_says_nothing_is_no_obstacle(provider: str) -> None:
    neutral = {
        "n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "store": False, "seed": None,
        "service_tier": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"}, "tools": [],
        "user": "u", "metadata": {"a": "b"}, "stream": True, "stream_options": {"include_usage": True},
        "prompt_cache_key": "k", "modalities": ["text"], "logit_bias": {},
    }  # fmt: skip
    assert PROVIDERS[provider].unsupported({"messages": [USER], **neutral}) == ()


@pytest.mark.parametrize("provider", FOREIGN)
@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages.content.input_audio"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages.content.file"),
        ({"role": "user", "content": [{"type": "sk-secret"}]}, "messages.content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}, "messages.content.image_url"),
        ({"role": "user", "name": "ann", "content": "a"}, "messages.name"),
        ({"role": "function", "name": "f", "content": "a"}, "messages.role"),
        ({"role": "tool", "content": "a"}, "messages.tool_call_id"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages.function_call"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}, "messages.tool_calls"),
    ],
)  # fmt: skip
def test_parts_of_messages_are_named(provider: str, message: dict[str, Any], name: str) -> None:
    assert name in PROVIDERS[provider].unsupported({"messages": [message]})


def test_limits_of_one_format() -> None:
    five = {"messages": [USER], "stop": list("abcde")}
    assert (openai.unsupported(five), google.unsupported(five), anthropic.unsupported(five)) == (("stop",), (), ())
    single = {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": False}
    assert google.unsupported(single) == ("parallel_tool_calls",)
    assert anthropic.unsupported({"messages": [USER], "temperature": 1.5}) == ("temperature",)
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}
    assert google.unsupported({"messages": [image]}) == ("messages.content.image_url",)
    assert google.unsupported({"messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]})


def seen(*details: str) -> dict[str, Any]:
    """A body with an image for each of these details, "" for one without."""
    urls = [{"url": "https://a/b.png"} | ({"detail": detail} if detail else {}) for detail in details]
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url} for url in urls]}]}


def test_how_closely_an_image_is_looked_at_is_kept_or_named() -> None:
    named = ("messages.content.image_url.detail",)
    assert sent("google", seen("low", "low"))["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert sent("google", seen("high"))["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
    assert "generationConfig" not in sent("google", seen("auto", ""))
    assert (google.unsupported(seen("low", "")), google.unsupported(seen("high", "auto"))) == (named, named)
    # Anthropic looks at every image closely.
    assert (anthropic.unsupported(seen("low")), anthropic.unsupported(seen("high", "auto", ""))) == (named, ())
    assert anthropic.unsupported(seen("original")) == ("messages.content.image_url",)


@pytest.mark.parametrize("provider", FOREIGN)
def test_what_a_schema_is_for_stands_in_it(provider: str) -> None:
    shape = {"name": "s", "strict": True, "description": "A poem.", "schema": {"type": "object"}}
    body = {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": shape}}
    told = sent(provider, body)
    schema = (
        told["output_config"]["format"]["schema"] if provider == "anthropic"
        else told["generationConfig"]["responseJsonSchema"]
    )  # fmt: skip
    assert schema == {"type": "object", "description": "A poem."}
    shape["schema"] = {"type": "object", "description": "A verse."}
    assert "A verse." in str(sent(provider, body)) and "A poem." not in str(sent(provider, body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.sampled_from(["user", "assistant", "tool", "text", "image_url", "function", "auto", "{}"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "id",
                         "image_url", "url", "tool_call_id", "json_schema", "schema", "extra_content", "parameters"]),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_body_breaks_a_format(provider: str, data: st.DataObject) -> None:
    fields = st.sampled_from([*FIELDS, "messages", "tool_choice", "parallel_tool_calls"])
    body = data.draw(st.dictionaries(fields, JSON, max_size=6) | st.builds(lambda m: {"messages": m}, st.lists(JSON)))
    if not PROVIDERS[provider].unsupported(body):
        PROVIDERS[provider].request(to(provider), body, True)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(read=JSON | st.dictionaries(
    st.sampled_from(["type", "content", "choices", "candidates", "error", "usage", "usageMetadata", "promptFeedback",
                     "delta", "message", "content_block", "stop_reason"]), JSON, max_size=5,
))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_no_answer_breaks_a_format(provider: str, read: Any) -> None:
    for status in (200, 400):
        PROVIDERS[provider].parse(status, {"content-type": "application/json"}, orjson.dumps(read))


def test_anthropic_takes_the_conversation_apart() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    body = {
        "messages": [
            {"role": "system", "content": "S"}, USER,
            {"role": "assistant", "content": "", "tool_calls": [call, {**call, "id": "t2"}],
             "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
            {"role": "tool", "tool_call_id": "t1", "content": "1"}, {"role": "tool", "tool_call_id": "t2", "content": "2"},
            {"role": "user", "content": "And?"},
        ],
        "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "user": "u-1",
    }  # fmt: skip
    got = sent("anthropic", body)
    assert got["system"] == [{"type": "text", "text": "S"}]
    assert [turn["role"] for turn in got["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in got["messages"][1]["content"]] == ["thinking", "tool_use", "tool_use"]
    assert [block["type"] for block in got["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert got["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert (got["max_tokens"], got["metadata"]) == (anthropic.MAX_TOKENS, {"user_id": "u-1"})


def test_google_gives_signatures_back_and_marks_foreign_calls() -> None:
    signed = {"google": {"thought_signature": "blob"}}
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "t1", "content": "plain"}
    for extra, model, expected in (
        ({"extra_content": signed}, "gemini-3-pro", "blob"),
        ({}, "gemini-3-pro", "skip_thought_signature_validator"),
        ({}, "gemini-2.5-pro", None),
    ):
        talk = [USER, {"role": "assistant", "content": None, "tool_calls": [call | extra]}, result]
        got = sent("google", {"messages": talk, "reasoning_effort": "low"}, model=model)
        assert got["contents"][1]["parts"][0].get("thoughtSignature") == expected
        answered = got["contents"][2]["parts"][0]["functionResponse"]
        assert answered == {"name": "f", "response": {"result": "plain"}, "id": "t1"}
        assert ("thinkingBudget" in got["generationConfig"]["thinkingConfig"]) is ("2.5" in model)


def test_openai_never_sees_other_providers_thoughts() -> None:
    said = {"role": "assistant", "content": "a", "thinking_blocks": [{}], "reasoning_content": "hm",
            "tool_calls": [{"id": "t", "extra_content": {"google": {}}}]}  # fmt: skip
    assert sent("openai", {"messages": [USER, said]})["messages"][1] == {
        "role": "assistant", "content": "a", "tool_calls": [{"id": "t"}],
    }  # fmt: skip
    assert sent("openai_compatible", {"messages": [said]})["messages"][0] == said
