"""The provider simulators as a client sees them: over real HTTP on loopback."""

from typing import Any

import httpx
import orjson
import pytest
from simulator_world import ASK, FAST, STREAM, ask, billed, events

from infra.simulators import ProviderScript, RunningSimulators, start_simulators


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
