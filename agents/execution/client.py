"""One attempt over HTTP: httpx's aiohttp transport, one deadline, a byte cap, an Outcome whatever happens.

The transport is called without httpx.AsyncClient around it: redirects, cookies, proxies and URLs in the log are what we
do not want anyway, and they cost 0.25 of 0.67 ms of CPU a call at 50 concurrent.
"""

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, replace
from typing import Any

import httpx

from agents.execution import classify
from agents.execution.credentials import Credentials
from agents.execution.frames import forget_frames
from agents.execution.headroom import headroom_of
from agents.execution.outcome import Answer, Failed, Outcome, Succeeded, Trouble
from agents.execution.streaming import OnDelta, Stream
from agents.execution.target import Target, Targets
from schemas.catalog import Deployment
from schemas.errors import ConfigurationError
from schemas.failures import Failure

__all__ = ["Caller", "MAX_BYTES"]

MAX_BYTES = 16 * 1024 * 1024
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_PROBE = {"messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
_NO_HEADERS: dict[str, str] = {}
_OF_A_CREDENTIAL = (Failure.AUTHENTICATION, Failure.QUOTA_EXHAUSTED)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A request about to be sent. Loop times: `first` and `end` are the deployment's limits, `deadline` the caller's."""

    target: Target
    request: httpx.Request
    started: float
    first: float
    end: float
    deadline: float


class Caller:
    """Calls deployments. Used by one event loop; `aclose` it."""

    def __init__(self, credentials: Credentials, *, tls: ssl.SSLContext) -> None:
        """tls: whose certificates providers may have."""
        self._targets = Targets(credentials, tls)

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

        The limits are `connect_s`, then `first_byte_s` until the answer begins, and `total_s` for all of it.
        Raises nothing but asyncio.CancelledError; the connection of a cancelled call is closed.
        """
        return await self._whole(deployment, request_body, deadline, attempt_id, traceparent, empty_is_good=False)

    async def stream(
        self,
        deployment: Deployment,
        request_body: dict[str, Any],
        *,
        deadline: float,
        attempt_id: str,
        traceparent: str | None = None,
        on_delta: OnDelta,
    ) -> Outcome:
        """As `call`, with every `chat.completion.chunk` given to on_delta as it comes, and awaited where it asks for it.

        `first_byte_s` is the limit until the stream's first byte, `between_chunks_s` for each silence after it. The
        chunk that holds usage alone is kept back: usage stands in the Succeeded, as the whole message does. Also
        raises what on_delta raises; the connection is closed then.
        """
        ready = self._ready(deployment, request_body, deadline, attempt_id, traceparent, stream=True)
        if not isinstance(ready, _Ready):
            return ready
        response = await _sent(ready)
        if isinstance(response, Failed):
            return response
        headers = _lower(response)
        try:
            wanted = request_body.get("n")
            stream = Stream(
                response, headers, ready.started, ready.first, ready.end, deadline, MAX_BYTES,
                choices=wanted if type(wanted) is int else 1, between_s=deployment.timeouts.between_chunks_s,
                on_delta=on_delta,
            )  # fmt: skip
            if response.status_code == 200 and "event-stream" in headers.get("content-type", "").lower():
                return self._told(
                    ready.target, headers, await stream.read(ready.target.provider.chunks(int(time.time())))
                )
            # An error, or a server that answers at once whatever it was asked for.
            outcome = await _answered(ready, response, headers, empty_is_good=False)
            if isinstance(outcome, Succeeded):
                outcome = await stream.deliver_whole(outcome)
            return self._told(ready.target, headers, outcome)
        finally:
            await _closed(response)

    async def probe(self, deployment: Deployment, *, timeout_s: float) -> Outcome:
        """A call with a limit of one token; an empty answer is a good one."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        return await self._whole(deployment, _PROBE, deadline, "probe", None, empty_is_good=True)

    def forget(self, reference: str) -> None:
        """Read this credential again at its next use."""
        self._targets.forget(reference)

    def release(self, deployment: str) -> None:
        """Use every credential of the deployment again, whatever its provider said of it."""
        self._targets.release(deployment)

    def rotated(self) -> set[str]:
        """Look for `file:` credentials whose content changed, and use that from now on; returns their references."""
        return self._targets.rotated()

    def _told(self, target: Target, headers: dict[str, str], outcome: Outcome) -> Outcome:
        """The outcome with what the headers say of the rate limits; a credential that was refused gives way to the next."""
        headroom = headroom_of(headers, now=time.time())
        if headroom is not None:
            outcome = replace(outcome, headroom=headroom)
        if isinstance(outcome, Failed) and outcome.quarantine and outcome.failure in _OF_A_CREDENTIAL:
            outcome = replace(outcome, elsewhere=self._targets.refuse(target))
        return outcome

    async def aclose(self) -> None:
        """Close every connection."""
        await self._targets.aclose()

    def _ready(
        self,
        deployment: Deployment,
        body: dict[str, Any],
        deadline: float,
        attempt_id: str,
        traceparent: str | None,
        *,
        stream: bool,
    ) -> _Ready | Outcome:
        clock = asyncio.get_running_loop().time
        started = clock()
        if deadline <= started:
            return classify.not_sent()
        try:
            target = self._targets.of(deployment)
            if beyond := target.provider.unsupported(body):
                return classify.beyond_format(beyond, latency_ms=(clock() - started) * 1_000)
            path, _, content = target.provider.request(deployment, body, stream)
            own = target.stream_headers if stream else target.headers
            headers = [*own, (b"x-turnout-attempt", attempt_id.encode("ascii"))]
            if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
                headers.append((b"traceparent", traceparent.encode("ascii")))
            url = target.url(path)
            # The transport adds Host and Content-Length itself: a stream spares httpx two more rounds over the headers.
            whole = httpx.ByteStream(content)
            request = httpx.Request("POST", url, headers=headers, stream=whole, extensions=target.extensions)
            request.read()
        except ConfigurationError:
            return classify.no_credential(latency_ms=(clock() - started) * 1_000)
        except Exception as error:
            return classify.our_fault(error, latency_ms=(clock() - started) * 1_000)
        limits = deployment.timeouts
        first = started + limits.connect_s + limits.first_byte_s
        return _Ready(target, request, started, first, started + limits.total_s, deadline)

    async def _whole(
        self,
        deployment: Deployment,
        body: dict[str, Any],
        deadline: float,
        attempt_id: str,
        traceparent: str | None,
        *,
        empty_is_good: bool,
    ) -> Outcome:
        ready = self._ready(deployment, body, deadline, attempt_id, traceparent, stream=False)
        if not isinstance(ready, _Ready):
            return ready
        response = await _sent(ready)
        if isinstance(response, Failed):
            return response
        headers = _lower(response)
        try:
            outcome = await _answered(ready, response, headers, empty_is_good=empty_is_good)
            return self._told(ready.target, headers, outcome)
        finally:
            await _closed(response)


async def _sent(ready: _Ready) -> httpx.Response | Failed:
    """The answer's head. A deadline before the deployment's own limits does not count against the deployment."""
    clock = asyncio.get_running_loop().time
    limit = min(ready.first, ready.end)
    try:
        async with asyncio.timeout_at(min(limit, ready.deadline)) as timer:
            return await ready.target.transport.handle_async_request(ready.request)
    except Exception as error:
        forget_frames(error)
        latency_ms = (clock() - ready.started) * 1_000
        if isinstance(error, TimeoutError) and timer.expired():
            return classify.late(0, _NO_HEADERS, own=limit <= ready.deadline, latency_ms=latency_ms)
        return classify.unanswered(error, latency_ms=latency_ms)


async def _answered(
    ready: _Ready, response: httpx.Response, headers: dict[str, str], *, empty_is_good: bool
) -> Outcome:
    """The whole answer, read."""
    clock = asyncio.get_running_loop().time
    status = response.status_code
    body: bytes | None = b""
    try:
        async with asyncio.timeout_at(min(ready.end, ready.deadline)) as timer:
            body = await _read(response, headers)
    except Exception as error:
        forget_frames(error)
        # Any other status has said it all; its explanation broke off.
        if status == 200:
            latency_ms = (clock() - ready.started) * 1_000
            if isinstance(error, TimeoutError) and timer.expired():
                return classify.late(status, headers, own=ready.end <= ready.deadline, latency_ms=latency_ms)
            return classify.unanswered(error, latency_ms=latency_ms, status=status)
    latency_ms = (clock() - ready.started) * 1_000
    if body is None:
        return classify.unreadable(status, headers, latency_ms=latency_ms)
    try:
        read: Answer | Trouble = ready.target.provider.parse(status, headers, body)
    except Exception:
        return classify.unreadable(status, headers, latency_ms=latency_ms)
    if not isinstance(read, Answer):
        return classify.answered(status, headers, read, now=time.time(), latency_ms=latency_ms)
    if read.empty and not empty_is_good:
        return classify.empty(status, headers, read.usage, latency_ms=latency_ms)
    return Succeeded(
        completion=read.completion,
        usage=read.usage,
        finish_reason=read.finish_reason,
        http_status=status,
        provider_request_id=classify.request_id(headers),
        latency_ms=latency_ms,
        first_token_ms=0.0,
        model=read.model,
    )


async def _closed(response: httpx.Response) -> None:
    try:
        await response.aclose()
    except Exception:
        # The outcome stands; the connection is not used again.
        return


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
