"""What every call of a deployment has in common: its connections, its headers and its URLs."""

import re
import ssl
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from agents.execution.connector import PacedConnector
from agents.execution.credentials import Credentials
from agents.execution.providers import PROVIDERS, Provider
from schemas.catalog import Deployment

# uvicorn (vLLM and most local servers) closes a connection after 5 s without a request, hosted APIs after a minute or
# more. A request on a connection that is just being closed fails as one that may have been billed.
_KEEPALIVE_S = {"openai_compatible": 4.0}
_HOSTED_KEEPALIVE_S = 50.0
_SCHEME = re.compile(r"[A-Za-z]*")
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Target:
    """A deployment, ready to be called with one of its credentials, `reference`.

    `headers`: of a whole answer; `stream_headers`: of a stream.
    """

    deployment: Deployment
    reference: str
    provider: Provider
    transport: httpx.AsyncBaseTransport
    headers: Headers
    stream_headers: Headers
    extensions: dict[str, Any]
    _urls: dict[str, httpx.URL] = field(default_factory=dict)

    def url(self, path: str) -> httpx.URL:
        known = self._urls.get(path)
        if known is None:
            known = self._urls[path] = httpx.URL(self.deployment.base_url.rstrip("/") + path)
        return known


class Targets:
    """Owns the connections to all providers: one pool per credential and proxy. Used by one event loop."""

    def __init__(self, credentials: Credentials, tls: ssl.SSLContext) -> None:
        self._credentials = credentials
        self._tls = tls
        self._pools: dict[tuple[str, str, str], httpx.AsyncBaseTransport] = {}
        self._targets: dict[str, Target] = {}

    def of(self, deployment: Deployment) -> Target:
        """Raises ConfigurationError without a usable key or proxy."""
        known = self._targets.get(deployment.id)
        if known is not None and known.deployment is deployment:
            return known
        provider = PROVIDERS[deployment.provider]
        reference = self._credentials.choose(deployment)
        key = self._credentials.header_for(deployment, reference)
        limits = deployment.timeouts
        # `connect` bounds name look-up, socket and TLS in the connector; reading is bounded by the call's deadline.
        timeout = {"connect": limits.connect_s, "pool": None, "read": None, "write": None}
        target = Target(
            deployment=deployment,
            reference=reference,
            provider=provider,
            transport=self._pool(deployment.provider, reference, self._credentials.proxy(deployment)),
            headers=_headers(deployment, provider, key, stream=False),
            stream_headers=_headers(deployment, provider, key, stream=True),
            extensions={"timeout": timeout},
        )
        self._targets[deployment.id] = target
        return target

    def forget(self, reference: str) -> None:
        """Read this credential again at its next use."""
        self._credentials.forget(reference)
        self._drop({reference})

    def refuse(self, target: Target) -> bool:
        """The provider refused the target's credential; returns whether its deployment has another one."""
        self._targets.pop(target.deployment.id, None)
        return self._credentials.refuse(target.deployment, target.reference)

    def release(self, deployment: str) -> None:
        """Use every credential of the deployment again."""
        self._credentials.release(deployment)
        self._targets.pop(deployment, None)

    def rotated(self) -> set[str]:
        """Look for credentials and proxies whose file changed; those are used from now on."""
        changed = self._credentials.rotated()
        if changed:
            self._drop(changed)
        return changed

    def _drop(self, references: set[str]) -> None:
        """Make the targets that are called with these, and of deployments that may come back to them, anew."""
        self._targets = {
            id: target
            for id, target in self._targets.items()
            if references.isdisjoint((*target.deployment.credentials, target.deployment.proxy))
        }

    async def aclose(self) -> None:
        """Close every connection."""
        pools = list(self._pools.values())
        self._pools.clear()
        self._targets.clear()
        for pool in pools:
            await pool.aclose()

    def _pool(self, provider: str, reference: str, proxy: str) -> httpx.AsyncBaseTransport:
        key = (provider, reference, proxy)
        known = self._pools.get(key)
        if known is None:
            keepalive = _KEEPALIVE_S.get(provider, _HOSTED_KEEPALIVE_S)
            known = self._pools[key] = AiohttpTransport(
                verify=self._tls,
                client=lambda: _session(self._tls, keepalive),
                proxy=httpx.Proxy(proxy) if proxy else None,
            )
        return known


def _session(tls: ssl.SSLContext, keepalive_s: float) -> aiohttp.ClientSession:
    connector = PacedConnector(tls, keepalive_s)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _headers(deployment: Deployment, provider: Provider, key: dict[str, str], *, stream: bool) -> Headers:
    # The format's own headers are the same for every body.
    _, own, _ = provider.request(deployment, {}, stream)
    merged = {**own, "accept-encoding": "identity", **key}
    for name, value in deployment.headers.items():
        if name.lower() == "authorization" and _SCHEME.fullmatch(value.strip()):
            # A scheme alone says how to carry the key, which stands there already.
            continue
        merged[name.lower()] = value
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in merged.items()]
