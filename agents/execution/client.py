"""One attempt over HTTP: httpx's aiohttp transport, one deadline, a byte cap, an Outcome whatever happens.

The transport is called without httpx.AsyncClient around it: redirects, cookies, proxies and URLs in the log are what we
do not want anyway, and they cost 0.25 of 0.67 ms of CPU a call at 50 concurrent.
"""

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from agents.execution import classify
from agents.execution.credentials import Credentials
from agents.execution.outcome import Answer, Outcome, Succeeded
from agents.execution.providers import PROVIDERS, Provider
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError

MAX_BYTES = 16 * 1024 * 1024
# uvicorn (vLLM and most local servers) closes a connection after 5 s without a request, hosted APIs after a minute or
# more. A request on a connection that is just being closed fails as one that may have been billed.
_KEEPALIVE_S = {"openai_compatible": 4.0}
_HOSTED_KEEPALIVE_S = 50.0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_PROBE = {"messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}


class IllegalHeader(ValueError):
    """A configured header cannot be sent. It has no text: the value may be a secret."""


@dataclass(slots=True)
class _Target:
    """What every call of a deployment has in common."""

    deployment: Deployment
    provider: Provider
    transport: httpx.AsyncBaseTransport
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]
    urls: dict[str, httpx.URL] = field(default_factory=dict)

    def url(self, path: str) -> httpx.URL:
        known = self.urls.get(path)
        if known is None:
            known = self.urls[path] = httpx.URL(self.deployment.base_url.rstrip("/") + path)
        return known


class Caller:
    """Owns the connections to all providers: one pool per credential. Used by one event loop."""

    def __init__(self, credentials: Credentials, *, tls: ssl.SSLContext | None = None) -> None:
        """tls: certifi's authorities by default."""
        self._credentials = credentials
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._pools: dict[tuple[str, str], httpx.AsyncBaseTransport] = {}
        self._targets: dict[str, _Target] = {}

    async def call(
        self,
        deployment: Deployment,
        request_body: dict[str, Any],
        *,
        deadline: float,
        attempt_id: str,
        traceparent: str | None = None,
    ) -> Outcome:
        """Send an OpenAI chat body and wait for the whole answer. deadline: loop time.

        Raises nothing but asyncio.CancelledError; the connection of a cancelled call is closed.
        """
        return await self._attempt(deployment, request_body, deadline, attempt_id, traceparent, empty_is_good=False)

    async def probe(self, deployment: Deployment, *, timeout_s: float) -> Outcome:
        """A call with a limit of one token; an empty answer is a good one."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        return await self._attempt(deployment, _PROBE, deadline, "probe", None, empty_is_good=True)

    def forget(self, reference: str) -> None:
        """Read this credential again at its next use."""
        self._credentials.forget(reference)
        self._targets = {id: target for id, target in self._targets.items() if target.deployment.api_key != reference}

    async def aclose(self) -> None:
        """Close every connection."""
        pools = list(self._pools.values())
        self._pools.clear()
        self._targets.clear()
        for pool in pools:
            await pool.aclose()

    async def _attempt(
        self,
        deployment: Deployment,
        request_body: dict[str, Any],
        deadline: float,
        attempt_id: str,
        traceparent: str | None,
        *,
        empty_is_good: bool,
    ) -> Outcome:
        clock = asyncio.get_running_loop().time
        started = clock()
        if deadline <= started:
            return classify.not_sent()
        try:
            target = self._target(deployment)
            path, _, content = target.provider.request(deployment, request_body, False)
            headers = [*target.headers, (b"x-turnout-attempt", attempt_id.encode("ascii"))]
            if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
                headers.append((b"traceparent", traceparent.encode("ascii")))
            request = httpx.Request(
                "POST", target.url(path), headers=headers, content=content, extensions=target.extensions
            )
        except ConfigurationError:
            return classify.no_credential(latency_ms=(clock() - started) * 1_000)
        except Exception as error:
            return classify.our_fault(error, latency_ms=(clock() - started) * 1_000)
        limits = deployment.timeouts
        end = min(deadline, started + limits.total_s)
        status, answered = 0, _NO_HEADERS
        try:
            async with asyncio.timeout_at(min(end, started + limits.connect_s + limits.first_byte_s)) as limit:
                response = await target.transport.handle_async_request(request)
                limit.reschedule(end)
                try:
                    status, answered = response.status_code, _lower(response)
                    body = await _read(response, answered)
                finally:
                    await response.aclose()
        except Exception as error:
            if status in (0, 200):
                return classify.unanswered(error, latency_ms=(clock() - started) * 1_000, status=status)
            # The status has said it all; its explanation broke off.
            body = b""
        latency_ms = (clock() - started) * 1_000
        if body is None:
            return classify.unreadable(status, answered, latency_ms=latency_ms)
        try:
            read = target.provider.parse(status, answered, body)
        except Exception:
            return classify.unreadable(status, answered, latency_ms=latency_ms)
        if not isinstance(read, Answer):
            return classify.answered(status, answered, read, now=time.time(), latency_ms=latency_ms)
        if read.empty and not empty_is_good:
            return classify.empty(status, answered, read.usage, latency_ms=latency_ms)
        return Succeeded(
            completion=read.completion,
            usage=read.usage,
            finish_reason=read.finish_reason,
            http_status=status,
            provider_request_id=classify.request_id(answered),
            latency_ms=latency_ms,
            first_token_ms=0.0,
            model=read.model,
        )

    def _target(self, deployment: Deployment) -> _Target:
        known = self._targets.get(deployment.id)
        if known is not None and known.deployment is deployment:
            return known
        provider = PROVIDERS[deployment.provider]
        # The format's own headers are the same for every body.
        _, own, _ = provider.request(deployment, {}, False)
        merged = {**own, "accept-encoding": "identity", **self._credentials.header_for(deployment)}
        for name, value in deployment.headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise IllegalHeader
            merged[name.lower()] = value
        limits = deployment.timeouts
        # `connect` bounds the socket and TLS, `pool` the name look-up too; reading is bounded by the call's deadline.
        timeout = {"connect": limits.connect_s, "pool": limits.connect_s, "read": None, "write": None}
        target = _Target(
            deployment=deployment,
            provider=provider,
            transport=self._pool(deployment),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in merged.items()],
            extensions={"timeout": timeout},
        )
        self._targets[deployment.id] = target
        return target

    def _pool(self, deployment: Deployment) -> httpx.AsyncBaseTransport:
        key = (deployment.provider, deployment.api_key)
        known = self._pools.get(key)
        if known is None:
            keepalive = _KEEPALIVE_S.get(deployment.provider, _HOSTED_KEEPALIVE_S)
            known = self._pools[key] = AiohttpTransport(verify=self._tls, client=lambda: _session(self._tls, keepalive))
        return known


_NO_HEADERS: dict[str, str] = {}


def _session(tls: ssl.SSLContext, keepalive_s: float) -> aiohttp.ClientSession:
    # limit 0: how many calls run at once is the router's decision; a hidden queue here would look like a slow provider.
    connector = aiohttp.TCPConnector(ssl=tls, limit=0, keepalive_timeout=keepalive_s, ttl_dns_cache=30)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}


async def _read(response: httpx.Response, headers: dict[str, str]) -> bytes | None:
    """The raw bytes; None where they are more than MAX_BYTES or packed (194 KB of gzip can hold 200 MB)."""
    if headers.get("content-encoding", "identity") != "identity":
        return None if response.status_code == 200 else b""
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BYTES:
        return None if response.status_code == 200 else b""
    parts: list[bytes] = []
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        size += len(part)
        if size > MAX_BYTES:
            return None if response.status_code == 200 else b""
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
