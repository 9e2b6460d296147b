"""A provider and a webhook whose certificates are of an authority of one's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from schemas.errors import ConfigurationError
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
