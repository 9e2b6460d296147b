"""A provider and a webhook whose certificates are of an authority of one's own, also behind a proxy."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from loop import Bench, catalog, chat, prepared, running, settings_for
from pydantic import ValidationError

from agents.execution.credentials import Credentials
from infra.kafka import EmbeddedKafka
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError
from schemas.events import CostIncurred
from streams.tls import authorities

ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


@asynccontextmanager
async def served(authority: trustme.CA, heard: asyncio.Event) -> AsyncIterator[str]:
    """A provider under /v1 and a webhook under /hook, which sets `heard`."""

    async def complete(_: web.Request) -> web.Response:
        return web.json_response(ANSWER)

    async def hook(_: web.Request) -> web.Response:
        heard.set()
        return web.Response()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("known", [True, False])
async def test_what_the_file_names_is_trusted(kafka: EmbeddedKafka, prefix: str, tmp_path: Path, known: bool) -> None:
    authority, heard = trustme.CA(), asyncio.Event()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    async with served(authority, heard) as base:
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(f"{base}/v1", {"a": "primary"}),
            worker={"ca_file": str(tmp_path / "own.pem") if known else ""},
            # 3 tokens in and 2 out cost more than that, which is an alert.
            budgets=[{"scope": "global", "period": "day", "limit_usd": 0.000001}],
            alerts={"webhooks": [{"url": f"{base}/hook", "min_severity": "info", "max_attempts": 1}]},
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings):
            await bench.publish(chat(), request_id="r-1")
            ((body, headers),) = await bench.answers(1)
            if known:
                async with asyncio.timeout(60):
                    await heard.wait()
    assert headers["turnout-status"] == ("ok" if known else "error")
    if not known:
        assert body["error"]["code"] == "all_attempts_failed"
        assert {attempt["failure"] for attempt in body["routing"]["attempts"]} == {"connect"}


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("nothing")
    for file in ("own.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=f"worker.ca_file: .*{file} cannot be used"):
            authorities(str(tmp_path / file))


class ConnectProxy:
    """An HTTP proxy that asks for a password. `seen`: the targets it was asked for; `refused`: those without it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refused = 0
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ConnectProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target, wanted = head.split()[1], b64encode(b"me:secret").decode()
        if f"Proxy-Authorization: Basic {wanted}" not in head:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        self.seen.append(target)
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_piped(reader, far_writer), _piped(far_reader, writer))


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_calls_go_through_the_proxy_that_a_deployment_names(
    kafka: EmbeddedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, proxy = trustme.CA(), ConnectProxy()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    async with served(authority, asyncio.Event()) as base, proxy.serving():
        address = f"127.0.0.1:{proxy.port}"
        monkeypatch.setenv("EGRESS", f"http://me:secret@{address}")
        document = catalog(f"{base}/v1", {"locked": "primary", "open": "secondary"})
        document["deployments"][0]["proxy"] = f"http://{address}"
        document["deployments"][1]["proxy"] = "env:EGRESS"
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, document, worker={"ca_file": str(tmp_path / "own.pem")},
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings):
            await bench.publish(chat(), request_id="r-1")
            ((body, headers),) = await bench.answers(1)
            costs = await bench.events("costs")
            control = await bench.records(f"{prefix}control")
    assert headers["turnout-status"] == "ok", body
    first, *_, last = body["routing"]["attempts"]
    assert (first["deployment"], first["failure"], first["cost_usd"]) == ("locked", "connect", 0)
    assert (last["deployment"], last["outcome"]) == ("open", "succeeded")
    assert proxy.refused >= 1
    assert set(proxy.seen) == {base.removeprefix("https://")}
    assert {event.certainty for event in costs if isinstance(event, CostIncurred)} == {"certain"}
    assert all(b"secret" not in record.value for record in control)


def test_a_proxy_is_an_address_or_a_reference_to_one() -> None:
    made = {"id": "a", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}
    for wrong in ("proxy:3128", "http://me:secret@proxy:3128"):
        with pytest.raises(ValidationError, match="proxy"):
            Deployment.model_validate(made | {"proxy": wrong})
    told = Credentials({"EGRESS": "sk-1"}).problem(Deployment.model_validate(made | {"proxy": "env:EGRESS"}))
    assert told == "env:EGRESS holds no address of a proxy; put http://USER:PASSWORD@HOST:PORT there."
    assert "NOWHERE" in (Credentials({}).problem(Deployment.model_validate(made | {"proxy": "env:NOWHERE"})) or "")
