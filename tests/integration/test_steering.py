"""What a request may ask for: models, deployments, patterns, limits, tenants, identity, format."""

import re
from collections import Counter
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord
from loop import Bench, catalog, chat, prepared, running, settings_for, two_models
from processes import HeldProvider

from infra.kafka import EmbeddedKafka
from schemas.chat_avro import decode_response, encode_request
from schemas.events import RequestDeduplicated

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


SERVED: dict[str, tuple[dict[str, Any], str, str]] = {
    "auto": ({"model": "auto"}, "ab", "sim-mini"),
    "model": ({"model": "sim-big"}, "c", "sim-big"),
    "deployment": ({"model": "deployment:b"}, "b", "sim-mini"),
    "deployment-of-lower-tier": ({"model": "deployment:c"}, "c", "sim-big"),
    "allow-deployment": ({"routing": {"allow": ["b"]}}, "b", "sim-mini"),
    "allow-pattern": ({"routing": {"allow": ["*/sim-big"]}}, "c", "sim-big"),
    "deny-deployment": ({"routing": {"deny": ["a", "c"]}}, "b", "sim-mini"),
    "deny-pattern": ({"routing": {"deny": ["openai_compatible/sim-mini"]}}, "c", "sim-big"),
}
REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "unknown-model": ({"model": "sim-mega"}, "unknown_model", "model"),
    "unknown-deployment": ({"model": "deployment:z"}, "unknown_model", "model"),
    "nobody-allowed": ({"routing": {"allow": ["openai/*"]}}, "no_capable_deployment", "routing.allow"),
    "everybody-denied": ({"routing": {"deny": ["*"]}}, "no_capable_deployment", "routing.deny"),
    "no-money": ({"routing": {"max_cost_usd": 0}}, "cost_limit_exceeded", "routing.max_cost_usd"),
    "no-time": ({"routing": {"deadline_ms": 1}}, "deadline_exceeded", None),
}


async def test_a_request_is_served_as_it_asks_or_told_why_not(kafka: EmbeddedKafka, prefix: str) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, two_models(provider.base_url)))
        async with Bench(settings) as bench, running(settings):
            for name, (extra, *_) in (SERVED | REFUSED).items():
                await bench.publish(chat(name) | extra, request_id=name)
            answers = await bench.answers_of(SERVED.keys() | REFUSED.keys())
            # A named model's deployment fails: a lower tier serves, unless the caller forbids it.
            provider.refusals["a"] = provider.refusals["b"] = (500, b"{}")
            await bench.publish(chat() | {"model": "sim-mini"}, request_id="falls-back")
            await bench.publish(chat(fallback=False) | {"model": "sim-mini"}, request_id="stays")
            await bench.publish(chat(fallback=False) | {"model": "deployment:a"}, request_id="stays-there")
            after = await bench.answers_of({"falls-back", "stays", "stays-there"})
    for name, (_, deployments, model) in SERVED.items():
        routing = answers[name]["routing"]
        assert (routing["status"], answers[name]["model"]) == ("ok", model), name
        assert routing["deployment"] in deployments, name
    for name, (_, code, param) in REFUSED.items():
        error = answers[name]["error"]
        assert error["code"] == code, (name, error)
        assert param is None or error["param"] == param, (name, error)
        assert answers[name]["routing"]["status"] == "error"
    assert all(provider.calls[name] == 0 for name in REFUSED)
    assert (after["falls-back"]["model"], after["falls-back"]["routing"]["deployment"]) == ("sim-big", "c")
    assert [attempt["outcome"] for attempt in after["falls-back"]["routing"]["attempts"]][-1] == "succeeded"
    for name, allowed in (("stays", {"a", "b"}), ("stays-there", {"a"})):
        assert after[name]["error"]["code"] == "all_attempts_failed"
        assert {attempt["deployment"] for attempt in after[name]["routing"]["attempts"]} <= allowed


async def test_a_tenants_topic_is_its_own_and_its_share_is_bounded(kafka: EmbeddedKafka, prefix: str) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}),
            tenants=[{"id": "acme", "topic": "acme", "max_in_flight": 2}],
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings):
            shared, own = bench.topics.requests
            assert (own.name, own.responses) == (f"{prefix}requests.acme", f"{prefix}responses.acme")
            await bench.publish(chat(), request_id="unclaimed", topic=own.name)
            await bench.publish(chat(tenant="acme"), request_id="claimed", topic=own.name)
            first = await bench.answers_of({"unclaimed", "claimed"}, topic=own.responses)
            await bench.publish(chat("stolen", tenant="globex"), request_id="stolen", topic=own.name)
            stolen = await bench.answers_of({"stolen"}, topic=own.responses)
            provider.held = {"held"}
            for number in range(2):
                await bench.publish(chat("held"), request_id=f"held-{number}", topic=own.name)
            await bench.until(lambda: provider.waiting["held"] == 2)
            await bench.publish(chat("above"), request_id="above", topic=own.name)
            await bench.publish(chat("other"), request_id="other")
            above = await bench.answers_of({"above"}, topic=own.responses)
            other = await bench.answer_of("other")
            await provider.release()
            await bench.answers_of({"held-0", "held-1"}, topic=own.responses)
            await bench.publish(chat("above"), request_id="above", topic=own.name)
            await bench.answers(7, topic=own.responses)
            records = await bench.records(own.responses)
            assert len(await bench.records(shared.responses)) == 1
            costs = await bench.events("costs")
    assert all(body["routing"]["tenant"] == "acme" for body in (*first.values(), *above.values(), *stolen.values()))
    assert all(body["routing"]["status"] == "ok" for body in first.values())
    assert stolen["stolen"]["error"]["code"] == "unauthorized"
    assert provider.calls["stolen"] == 0
    error = above["above"]
    assert (error["error"]["code"], error["routing"]["retryable"]) == ("throttled", True)
    assert error["routing"]["retry_after_ms"] > 0
    assert other["routing"]["tenant"] == "default"
    again = [headers_of(record)["turnout-status"] for record in records if headers_of(record)["request-id"] == "above"]
    assert again == ["error", "ok"]
    assert "globex" not in {event.tenant for event in costs if hasattr(event, "tenant")}


async def test_identity_partition_headers_and_trace_are_kept(kafka: EmbeddedKafka, prefix: str) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}))
        )
        async with Bench(settings) as bench, running(settings) as worker:
            given = (
                ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()), ("correlation", b"c-1"), ("correlation", b"c-2"),
                ("bytes", b"\xff\x00"), ("turnout-status", b"forged"), ("turnout-tenant", b"forged"),
            )  # fmt: skip
            places = {}
            for number in range(6):
                name = f"p-{number}"
                places[name] = await bench.publish(
                    chat(name), request_id=name, key=f"key-{number}", partition=number % 2, headers=given
                )
            places["body-id"] = await bench.publish(chat(request_id="body-id"), key="k")
            no_id = await bench.publish(chat("no id"), key="k")
            no_id_name = f"{bench.topics.requests[0].name}-{no_id[0]}-{no_id[1]}"
            places[no_id_name] = no_id
            for _ in range(2):
                places["twice"] = await bench.publish(chat("twice"), request_id="twice", key="same")
            await bench.until(lambda: worker.tasks.completed == 10)
            records = await bench.records(bench.topics.requests[0].responses)
            deduplicated = [e for e in await bench.events("decisions") if isinstance(e, RequestDeduplicated)]
            traces = {e.request_id: e.trace_id for e in await bench.events("decisions") if hasattr(e, "trace_id")}
    counted = Counter(headers_of_id(record) for record in records)
    assert counted == dict.fromkeys(places, 1)
    for record in records:
        name = headers_of_id(record)
        assert record.partition == places[name][0]
        if not name.startswith("p-"):
            continue
        assert record.key == b"key-" + name[2:].encode()
        assert [item for header, item in record.headers if header == "correlation"] == [b"c-1", b"c-2"]
        assert ("bytes", b"\xff\x00") in record.headers
        own = [item for header, item in record.headers if header in ("turnout-status", "turnout-tenant")]
        assert own == [b"ok", b"default"]
        (traceparent,) = [item.decode() for header, item in record.headers if header == "traceparent"]
        assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", traceparent)
        assert traces[name] == TRACE
    assert [event.request_id for event in deduplicated] == ["twice"]
    assert provider.calls["twice"] == 1


def headers_of_id(record: ConsumerRecord) -> str:
    return next(value.decode() for name, value in record.headers if name == "request-id")


@pytest.mark.parametrize("good", [True, False], ids=["answer", "error"])
async def test_an_avro_request_gets_an_avro_answer(kafka: EmbeddedKafka, prefix: str, good: bool) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(provider.base_url, {"a": "primary"}))
        )
        async with Bench(settings) as bench, running(settings) as worker:
            body = chat("in Avro") | ({} if good else {"model": "sim-mega"})
            avro = (("content-type", b"avro/binary"),)
            await bench.publish(encode_request(body), request_id="avro", headers=avro)
            await bench.publish(orjson.dumps(body), request_id="json", headers=(("content-type", b"application/json"),))
            await bench.until(lambda: worker.tasks.completed == 2)
            records = {headers_of_id(r): r for r in await bench.records(bench.topics.requests[0].responses)}
    assert headers_of(records["avro"])["content-type"] == "avro/binary"
    assert headers_of(records["json"])["content-type"] == "application/json"
    answer, twin = decode_response(records["avro"].value), orjson.loads(records["json"].value)
    assert answer["routing"]["request_id"] == "avro"
    if good:
        assert answer["choices"] == twin["choices"]
        assert answer["choices"][0]["message"]["content"] == "re: in Avro"
    else:
        assert answer["error"] == twin["error"]
        assert answer["error"]["code"] == "unknown_model"
