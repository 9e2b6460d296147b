"""The one place that says which failure it was: from a status and a vetted code, or from the class of an exception.

BY_STATUS and `codes` are the failure table; what a failure means stands in schemas.failures.BEHAVIOUR. A timeout counts
toward the circuit only where one of the deployment's own limits was reached: where the caller's deadline was earlier
than those, the deployment was not given its time, so it is not to blame (`late` with own=False).
"""

import errno
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import aiohttp
import httpx

from agents.execution.codes import DECISIVE, GENERAL, PARAMS, vetted
from agents.execution.outcome import UNKNOWN_USAGE, Failed, Trouble, Usage
from agents.execution.retry_after import capped, limit_reset_ms, reset_moment_ms, retry_after_ms
from schemas.failures import BEHAVIOUR, Failure


@dataclass(frozen=True, slots=True)
class Verdict:
    """A failure, with what differs from BEHAVIOUR. `wait`: the answer's advice when to come back is heeded."""

    failure: Failure
    same: bool | None = None
    other: Literal["any", "larger", "none"] | None = None
    counts: bool | None = None
    billed: Literal["no", "yes", "unknown"] | None = None
    quarantine: bool | None = None
    wait: bool = False


BY_STATUS: dict[int, Verdict] = {
    400: Verdict(Failure.INVALID_REQUEST),
    401: Verdict(Failure.AUTHENTICATION),
    402: Verdict(Failure.AUTHENTICATION),
    403: Verdict(Failure.AUTHENTICATION),
    404: Verdict(Failure.MODEL_NOT_FOUND),
    408: Verdict(Failure.TIMEOUT, same=True, wait=True),
    409: Verdict(Failure.SERVER_ERROR, counts=False, wait=True),
    413: Verdict(Failure.TOO_LARGE),
    422: Verdict(Failure.INVALID_REQUEST),
    429: Verdict(Failure.RATE_LIMITED, wait=True),
    500: Verdict(Failure.SERVER_ERROR, wait=True),
    502: Verdict(Failure.SERVER_ERROR, wait=True),
    503: Verdict(Failure.OVERLOADED, wait=True),
    504: Verdict(Failure.TIMEOUT, same=True, wait=True),
    524: Verdict(Failure.TIMEOUT, same=True, wait=True),
    529: Verdict(Failure.OVERLOADED, wait=True),
}
_WAITS = frozenset({Failure.RATE_LIMITED, Failure.SERVER_ERROR, Failure.OVERLOADED, Failure.TIMEOUT})
# Connecting failed for want of something of our own; blaming the deployment would open every circuit.
_OUR_ERRNO = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
REJECTIONS: dict[Failure, str] = {
    Failure.CONTEXT_LENGTH: "The prompt is longer than the model's context window",
    Failure.TOO_LARGE: "The request has more bytes than the provider takes",
    Failure.CONTENT_FILTERED: "The provider's content filter refused the request",
}


def answered(status: int, headers: Mapping[str, str], trouble: Trouble, *, now: float, latency_ms: float) -> Failed:
    """The failure that an answer states. headers: lower-case names; now: Unix seconds."""
    verdict, code = _verdict(status, trouble)
    failed = _failed(verdict, latency_ms, status=status, code=code, request_id=request_id(headers))
    if trouble.usage is not None:
        failed = replace(failed, billed="yes", usage=trouble.usage)
    if verdict.wait:
        wait = retry_after_ms(headers, now=now)
        if wait is None and trouble.retry_after_ms is not None:
            wait = capped(trouble.retry_after_ms)
        if wait is None and verdict.failure is Failure.RATE_LIMITED:
            wait = limit_reset_ms(headers)
            wait = reset_moment_ms(headers, now=now) if wait is None else wait
        failed = replace(failed, retry_after_ms=wait)
    advice = headers.get("x-should-retry", "").strip().lower()
    if advice in ("true", "false"):
        failed = replace(failed, same=advice == "true")
    return replace(failed, rejection=_rejection(verdict.failure, code, trouble.param))


def unreadable(status: int, headers: Mapping[str, str], *, latency_ms: float) -> Failed:
    """An answer whose bytes broke off, ran over the limit or cannot be read."""
    return _failed(Verdict(Failure.BAD_RESPONSE), latency_ms, status=status, request_id=request_id(headers))


def empty(status: int, headers: Mapping[str, str], usage: Usage, *, latency_ms: float) -> Failed:
    """A good answer without text or calls. It is billed."""
    verdict = Verdict(Failure.EMPTY_COMPLETION)
    return _failed(verdict, latency_ms, status=status, request_id=request_id(headers), usage=usage)


def interrupted(status: int, headers: Mapping[str, str], *, latency_ms: float) -> Failed:
    """A stream that ended, cleanly or not, without a finish reason."""
    return _failed(Verdict(Failure.STREAM_INTERRUPTED), latency_ms, status=status, request_id=request_id(headers))


def stalled(status: int, headers: Mapping[str, str], *, latency_ms: float) -> Failed:
    """A stream that went silent before its end."""
    return _failed(Verdict(Failure.STREAM_STALLED), latency_ms, status=status, request_id=request_id(headers))


def late(status: int, headers: Mapping[str, str], *, own: bool, latency_ms: float) -> Failed:
    """Time was up. own: by a limit of the deployment's, not by the caller's earlier deadline."""
    verdict = Verdict(Failure.TIMEOUT, counts=None if own else False)
    return _failed(verdict, latency_ms, status=status, request_id=request_id(headers))


def begun(failed: Failed) -> Failed:
    """The same failure after a part of the answer was delivered: what that part costs is not known."""
    if failed.usage is not None:
        return failed
    return replace(failed, billed="unknown", usage=UNKNOWN_USAGE)


def beyond_format(names: tuple[str, ...], *, latency_ms: float) -> Failed:
    """The provider's wire format has nothing for these parts of the request; nothing was sent. names: in our words."""
    failed = _failed(Verdict(Failure.INVALID_REQUEST, other="any"), latency_ms)
    return replace(failed, rejection=f"The provider cannot carry {', '.join(f'`{name}`' for name in names)}")


def not_sent() -> Failed:
    """The deadline had passed before the call: it costs nothing and says nothing about the deployment."""
    return _failed(Verdict(Failure.TIMEOUT, counts=False, billed="no"), 0.0)


def no_credential(*, latency_ms: float) -> Failed:
    """The deployment has no usable key; nothing was sent."""
    return _failed(Verdict(Failure.AUTHENTICATION), latency_ms)


def unanswered(error: Exception, *, latency_ms: float, status: int = 0) -> Failed:
    """The failure behind an exception of the transport, by class alone: its text may hold a key or a prompt.

    The aiohttp transport reports a reset after sending as httpx.ConnectTimeout, so the cause decides where it has one.
    """
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ is not None else error
    match cause:
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError():
            verdict = Verdict(Failure.CONNECT, same=False)
        case aiohttp.ClientConnectorError(errno=number) if number in _OUR_ERRNO:
            return our_fault(cause, latency_ms=latency_ms)
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.ClientHttpProxyError():
            verdict = Verdict(Failure.CONNECT)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return our_fault(cause, latency_ms=latency_ms)
        case TimeoutError() | httpx.ReadTimeout() | httpx.WriteTimeout():
            verdict = Verdict(Failure.TIMEOUT)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            verdict = Verdict(Failure.CONNECT)
        case aiohttp.ClientError() | OSError() | httpx.NetworkError() | httpx.RemoteProtocolError():
            # Sent, and then a reset, an early end or no HTTP: it may have been billed.
            verdict = Verdict(Failure.BAD_RESPONSE)
        case _:
            return our_fault(cause, latency_ms=latency_ms)
    return _failed(verdict, latency_ms, status=status)


def our_fault(error: BaseException, *, latency_ms: float) -> Failed:
    """Something of our own is wrong: no other deployment would do better, and none is to blame."""
    name = type(error).__name__
    failed = _failed(Verdict(Failure.INVALID_REQUEST), latency_ms, code=name)
    return replace(failed, ours=True, rejection=f"Turnout could not send the request ({name})")


def request_id(headers: Mapping[str, str]) -> str:
    """The provider's id of the request, "" where it is missing or not an id."""
    given = headers.get("x-request-id") or headers.get("request-id") or ""
    return given if _REQUEST_ID.fullmatch(given) else ""


def _verdict(status: int, trouble: Trouble) -> tuple[Verdict, str]:
    code = next((known for known in map(vetted, trouble.codes) if known), "")
    decisive = next((DECISIVE[known] for known in map(vetted, trouble.codes) if known in DECISIVE), None)
    if 300 <= status < 400:
        return Verdict(Failure.BAD_RESPONSE, billed="no"), code
    if decisive is not None:
        refused = decisive is Failure.CONTENT_FILTERED
        return Verdict(decisive, billed="no" if refused else None, wait=decisive in _WAITS), code
    if 200 <= status < 300:
        if status != 200 or not trouble.readable:
            return Verdict(Failure.BAD_RESPONSE), code
        if trouble.inner_status:
            return _by_status(trouble.inner_status, trouble), code
        failure = GENERAL.get(code, Failure.SERVER_ERROR)
        return Verdict(failure, wait=failure in _WAITS), code
    return _by_status(status, trouble), code


def _by_status(status: int, trouble: Trouble) -> Verdict:
    if trouble.context and status in (400, 413, 422):
        return Verdict(Failure.CONTEXT_LENGTH)
    if status == 404:
        if trouble.param not in ("", "model"):
            # Something that the request names is missing, such as a file: no reason to disable the deployment.
            return Verdict(Failure.INVALID_REQUEST)
        if not trouble.readable:
            # A gateway's page, perhaps for seconds only: the circuit finds out, where a switch-off would stay.
            return Verdict(Failure.MODEL_NOT_FOUND, counts=True, quarantine=False)
    known = BY_STATUS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return Verdict(Failure.SERVER_ERROR, wait=True)
    return Verdict(Failure.BAD_RESPONSE, billed="no")


def _rejection(failure: Failure, code: str, param: str) -> str:
    if failure is not Failure.INVALID_REQUEST:
        return REJECTIONS.get(failure, "")
    field = re.split(r"[.\[]", param, maxsplit=1)[0]
    where = f" at `{field}`" if field in PARAMS else ""
    why = f" ({code})" if code else ""
    # A clause: the final error goes on with who said so and what to do.
    return f"The provider rejected the request{where}{why}"


def _failed(
    verdict: Verdict,
    latency_ms: float,
    *,
    status: int = 0,
    code: str = "",
    request_id: str = "",
    usage: Usage | None = None,
) -> Failed:
    usual = BEHAVIOUR[verdict.failure]
    return Failed(
        failure=verdict.failure,
        http_status=status,
        latency_ms=latency_ms,
        retry_after_ms=None,
        provider_code=code,
        provider_request_id=request_id,
        counts=usual.counts if verdict.counts is None else verdict.counts,
        billed=usual.billed if verdict.billed is None else verdict.billed,
        same=usual.same if verdict.same is None else verdict.same,
        other=usual.other if verdict.other is None else verdict.other,
        cool=usual.cool,
        quarantine=usual.quarantine if verdict.quarantine is None else verdict.quarantine,
        usage=usage,
    )
