"""Registration against a real HTTP server that speaks the two endpoints of a schema registry."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from infra.ports import free_port
from schemas.chat_avro import CHAT_RECORDS, decode_request, encode_request
from schemas.codec import NEWEST, Codec, wire_schemas
from schemas.errors import OperationError
from schemas.events import ClockTicked
from streams.registry import register_schemas


@dataclass
class Registry:
    """Subjects with their versions; ids are global and count from 1. `answer`: (status, body) for every request."""

    url: str = ""
    schemas: list[str] = field(default_factory=list)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    refuse: str = ""
    answer: tuple[int, bytes] | None = None

    async def register(self, request: web.Request) -> web.Response:
        name = request.match_info["subject"]
        if self.answer is not None:
            return web.Response(status=self.answer[0], body=self.answer[1])
        if name == self.refuse:
            return web.json_response({"error_code": 409, "message": "incompatible"}, status=409)
        text = json.dumps(json.loads((await request.json())["schema"]), sort_keys=True)
        if text not in self.schemas:
            self.schemas.append(text)
        number = self.schemas.index(text) + 1
        versions = self.subjects.setdefault(name, [])
        if number not in versions:
            versions.append(number)
        return web.json_response({"id": number})

    async def versions(self, request: web.Request) -> web.Response:
        return web.json_response(self.subjects.get(request.match_info["subject"], []))


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    served = Registry()
    app = web.Application()
    app.router.add_post("/subjects/{subject}/versions", served.register)
    app.router.add_get("/subjects/{subject}/versions", served.versions)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


async def test_every_schema_is_registered_once_however_often_it_runs(registry: Registry) -> None:
    first = await register_schemas(registry.url, "")
    again = await register_schemas(registry.url + "/", "")
    assert first == again
    wire = {(schema.event, schema.version) for schema in wire_schemas()}
    assert set(first) == wire | {(name, 1) for name in CHAT_RECORDS}
    assert registry.subjects["turnout.ClockTicked"] == [first["ClockTicked", NEWEST["ClockTicked"]]]
    assert len(registry.schemas) == len(first)


async def test_a_prefix_stands_before_every_subject(registry: Registry) -> None:
    await register_schemas(registry.url, "staging.")
    assert all(name.startswith("staging.turnout.") for name in registry.subjects)


async def test_ids_frame_events_and_requests(registry: Registry) -> None:
    ids = await register_schemas(registry.url, "")
    event = ClockTicked(event_id="e", occurred_at=1, worker="w", topic="t", partition=0, control_offset=3)
    codec = Codec(registry_ids=ids)
    assert codec.encode(event)[:5] == b"\0" + ids["ClockTicked", 1].to_bytes(4, "big")
    assert codec.decode(codec.encode(event)) == event
    value = encode_request({"messages": [{"role": "user", "content": "hello"}]}, ids)
    assert decode_request(value, 1_000, ids).body["messages"] == [{"role": "user", "content": "hello"}]


async def test_an_incompatible_schema_says_what_to_do(registry: Registry) -> None:
    registry.refuse = "turnout.Snapshot"
    with pytest.raises(OperationError, match=r"turnout\.Snapshot v1 incompatible .* NONE"):
        await register_schemas(registry.url, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b""), "refused our credentials with 401"),
        ((500, b"secret"), "answered 500 for turnout."),
        ((200, b"<html>"), "is no schema registry"),
        ((200, b"[]"), "is no schema registry"),
        ((200, b'{"id": "x"}'), "is no schema registry"),
    ],
)
async def test_other_answers_are_one_sentence(registry: Registry, answer: tuple[int, bytes], said: str) -> None:
    registry.answer = answer
    with pytest.raises(OperationError, match=said) as raised:
        await register_schemas(registry.url.replace("//", "//user:hidden@"), "")
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)


async def test_an_unreachable_registry_says_what_to_do() -> None:
    with pytest.raises(OperationError, match=r"cannot be reached \(ConnectError\); start it"):
        await register_schemas(f"http://127.0.0.1:{free_port()}", "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:notaport", "127.0.0.1:8081", ""])
async def test_a_wrong_url_says_what_to_do(url: str) -> None:
    with pytest.raises(OperationError, match=r"correct kafka\.schema_registry_url|http\(s\)://HOST:PORT"):
        await register_schemas(url, "")
