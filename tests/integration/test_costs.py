"""What an answer says it cost, to the nano-dollar: usage in the provider's own words times the price, on every provider."""

import asyncio
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
from loop import Bench, catalog, prepared, running, settings_for

from agents.execution.providers import PROVIDERS
from infra.kafka import EmbeddedKafka
from infra.simulators import ProviderScript, RunningSimulators, start_simulators
from schemas.catalog import Deployment
from schemas.events import AttemptFailed, CostIncurred, CostReserved, RequestCompleted

NAMES = ("openai", "openai_compatible", "anthropic", "google")
# Digits to the end, so that no part of a cost is a whole number of nano-dollars.
PRICES = {"input": 0.123457, "output": 1.234567, "cache_read": 0.0312345, "cache_write": 0.4567891}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ASKED: dict[str, dict[str, Any]] = {
    "plain": {"messages": [{"role": "user", "content": "Why is the sky blue?"}]},
    "cached": {"messages": [{"role": "user", "content": "a" * 9_001}]},
    "thinking": {"messages": [{"role": "user", "content": "Think hard."}], "reasoning_effort": "high"},
    "image": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, PIXEL]}]},
    "tools": {"messages": [{"role": "user", "content": "Ask weather."}], "tools": TOOLS},
    "cut": {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 9},
}
FAULTS = {
    "status_500": "no", "half_body": "unknown", "garbage": "unknown", "reset_before_headers": "unknown",
    "reset_after_headers": "unknown", "invalid_utf8": "unknown", "empty_completion": "yes", "stream_cut": "unknown",
    "stream_no_finish": "unknown",
}  # fmt: skip


def scripts() -> dict[str, ProviderScript]:
    return {
        name: ProviderScript(
            format="openai" if name.startswith("openai") else name, latency_ms=2.0, latency_sigma=0.0,
            reasoning_share=0.5, cached_share=0.5, cache_write_share=0.25,
        )
        for name in NAMES
    }  # fmt: skip


def document(simulators: RunningSimulators) -> dict[str, Any]:
    base = simulators.base_url(NAMES[0]).replace(f"/{NAMES[0]}/", "/{name}/")
    found = catalog(base, dict.fromkeys(NAMES, "primary"))
    found["models"][0]["price_usd_per_million"] = PRICES
    for deployment in found["deployments"]:
        deployment["provider"] = deployment["id"]
    return found


def parts_of(name: str, body: dict[str, Any]) -> dict[str, int]:
    """Tokens by price, read from the provider's own body without any of our code."""
    if name == "anthropic":
        usage = body["usage"]
        return {
            "input": usage["input_tokens"], "output": usage["output_tokens"],
            "cache_read": usage["cache_read_input_tokens"], "cache_write": usage["cache_creation_input_tokens"],
        }  # fmt: skip
    if name == "google":
        usage = body["usageMetadata"]
        cached = usage.get("cachedContentTokenCount", 0)
        out = usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
        return {"input": usage["promptTokenCount"] - cached, "output": out, "cache_read": cached, "cache_write": 0}
    usage = body["usage"]
    details = usage["prompt_tokens_details"]
    cached, written = details["cached_tokens"], details.get("cache_write_tokens", 0)
    fresh = usage["prompt_tokens"] - cached - written
    return {"input": fresh, "output": usage["completion_tokens"], "cache_read": cached, "cache_write": written}


def nano(parts: dict[str, int]) -> int:
    """Nano-USD, rounded once, half up."""
    exact = sum(Decimal(str(PRICES[part])) * 1000 * tokens for part, tokens in parts.items())
    return int(Decimal(exact).to_integral_value(rounding=ROUND_HALF_UP))


async def asked_directly(client: httpx.AsyncClient, deployment: Deployment, body: dict[str, Any]) -> dict[str, Any]:
    """The provider's answer to the same request, as it stands on the wire."""
    adapter = PROVIDERS[deployment.provider]
    path, headers, content = adapter.request(deployment, body, False)
    sent = {**headers, **adapter.auth(deployment, "k")}
    answer = await client.post(deployment.base_url + path, headers=sent, content=content)
    read: dict[str, Any] = answer.json()
    return read


async def test_every_kind_of_token_has_its_price(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators(scripts(), seed=7) as simulators:
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document(simulators)))
        deployments = settings.catalog.deployment_by_id
        async with Bench(settings) as bench, running(settings), httpx.AsyncClient(trust_env=False) as client:
            expected: dict[str, dict[str, int]] = {}
            for name in NAMES:
                for kind, body in ASKED.items():
                    parts = parts_of(name, await asked_directly(client, deployments[name], body))
                    for stream in (False, True):
                        request_id = f"{name}-{kind}-{stream}"
                        expected[request_id] = parts
                        routing = {"fallback": False}
                        more = {"model": f"deployment:{name}", "stream": stream, "routing": routing}
                        await bench.publish({**body, **more}, request_id=request_id)
            answers = await bench.answers_of(expected)
            incurred = {e.request_id: e for e in await bench.events("costs") if isinstance(e, CostIncurred)}
            completed = {e.request_id: e for e in await bench.events("decisions") if isinstance(e, RequestCompleted)}
    for request_id, parts in expected.items():
        answer, cost = answers[request_id], nano(parts)
        assert answer["routing"]["status"] == "ok", (request_id, answer)
        assert (incurred[request_id].nano_usd, incurred[request_id].certainty) == (cost, "certain"), request_id
        assert answer["routing"]["cost_usd"] == cost / 1e9 == answer["routing"]["attempts"][0]["cost_usd"]
        assert completed[request_id].cost_nano_usd == cost
        assert incurred[request_id].tokens_cache_write == parts["cache_write"]
        assert incurred[request_id].tokens_cached == parts["cache_read"]
    # The table is worth something only where every kind of token is there.
    for name in NAMES:
        cached, plain = expected[f"{name}-cached-True"], expected[f"{name}-plain-True"]
        assert cached["cache_read"] > 0 and (cached["cache_write"] > 0) is (name != "google")
        assert incurred[f"{name}-thinking-True"].tokens_reasoning > 0
        assert expected[f"{name}-image-True"]["input"] > plain["input"] + 50
        assert expected[f"{name}-cut-True"]["output"] == 9


async def test_a_failure_costs_what_its_billing_says(kafka: EmbeddedKafka, prefix: str) -> None:
    """Nothing where the provider charges nothing, its usage where it tells, the reservation where nobody knows."""
    async with await start_simulators(scripts(), seed=7) as simulators:
        circuit = {"failure_threshold": 10_000, "failure_ratio": 1.0}
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document(simulators), circuit=circuit))
        async with Bench(settings) as bench, running(settings):
            answers: dict[str, dict[str, Any]] = {}
            for fault in FAULTS:
                ids = {f"{name}/{fault}": name for name in NAMES}
                for name in NAMES:
                    simulators.control(name, fault)
                stream = fault.startswith("stream_")
                publish = (
                    bench.publish(
                        {**ASKED["plain"], "model": f"deployment:{name}", "stream": stream, "routing": {"fallback": False}},
                        request_id=request_id,
                    )
                    for request_id, name in ids.items()
                )  # fmt: skip
                await asyncio.gather(*publish)
                answers |= await bench.answers_of(set(ids))
            costs, attempts = await bench.events("costs"), await bench.events("attempts")
    reserved = {e.cost_id: e.nano_usd for e in costs if isinstance(e, CostReserved)}
    incurred = {(e.request_id, e.number): e for e in costs if isinstance(e, CostIncurred)}
    failed = [e for e in attempts if isinstance(e, AttemptFailed)]
    assert {e.request_id for e in failed} == answers.keys()
    for event in failed:
        cost = incurred[event.request_id, event.number]
        billed = FAULTS[event.request_id.partition("/")[2]]
        assert event.billed == billed, event.request_id
        fresh = cost.tokens_in - cost.tokens_cached
        parts = {"input": fresh, "cache_read": cost.tokens_cached, "output": cost.tokens_out}
        due = {"no": 0, "unknown": reserved[cost.cost_id], "yes": nano(parts)}[billed]
        assert (cost.nano_usd, cost.certainty) == (due, "estimated" if billed == "unknown" else "certain")
        assert (due > 0) is (billed != "no")
    for request_id, answer in answers.items():
        total = sum(cost.nano_usd for (of, _), cost in incurred.items() if of == request_id)
        routing = answer["routing"]
        assert routing["status"] == "error" and routing["cost_usd"] == total / 1e9
        assert sum(round(attempt["cost_usd"] * 1e9) for attempt in routing["attempts"]) == total
