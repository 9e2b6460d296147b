"""Every fault that a simulated provider can show, by name. A reader greps one table: FAULTS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from infra.simulators import behaviours
from infra.simulators.behaviours import Setting
from infra.simulators.exchange import Exchange
from infra.simulators.wire import Refusal

Fault = Callable[[Exchange, Setting], Awaitable[None]]


def _status(
    status: int,
    kind: str,
    code: str | None,
    message: str,
    *,
    param: str | None = None,
    retry_after_s: float | None = None,
) -> Fault:
    """A fault that is an error answer, after the time of a first token; never billed.

    Given in OpenAI's words; a format that has others for it says so in its REFUSALS.
    """
    refusal = Refusal(status, kind, code, message, param)

    async def answer(exchange: Exchange, how: Setting) -> None:
        await exchange.wait(exchange.first_token_s())
        seconds = how.retry_after_s if how.retry_after_s is not None else retry_after_s
        exchange.refuse(exchange.format.REFUSALS.get(how.name, refusal), seconds)

    return answer


_SERVER_ERROR: Final = "The server had an error while processing your request."
_INVALID: Final = "invalid_request_error"

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "status_500": _status(500, "server_error", None, _SERVER_ERROR),
        "status_502": _status(502, "server_error", None, "Bad gateway."),
        "status_503": _status(503, "server_error", "server_is_overloaded", "The engine is currently overloaded."),
        "status_529": _status(529, "overloaded_error", "server_is_overloaded", "Overloaded."),
        "status_429": _status(429, "requests", "rate_limit_exceeded", "Rate limit reached.", retry_after_s=2.0),
        "status_429_bare": _status(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
        # A provider sends Retry-After with it too; it must be ignored.
        "quota": _status(
            429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota.", retry_after_s=1.0
        ),
        "status_400": _status(400, _INVALID, "invalid_value", "Invalid value: 'messages[0]'.", param="messages"),
        "context_length": _status(
            400,
            _INVALID,
            "context_length_exceeded",
            "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
            param="messages",
        ),
        "status_401": _status(401, _INVALID, "invalid_api_key", "Incorrect API key provided."),
        "status_403": _status(403, "permission_error", "permission_denied", "You are not allowed to use this model."),
        "status_404": _status(404, _INVALID, "model_not_found", "The model does not exist."),
        "status_408": _status(408, "timeout", None, "The request timed out."),
        "status_413": _status(413, _INVALID, "request_too_large", "The request is too large."),
        "reset_before_headers": behaviours.reset_before_headers,
        "reset_after_headers": behaviours.reset_after_headers,
        "half_body": behaviours.half_body,
        "garbage": behaviours.garbage,
        "wrong_content_type": behaviours.wrong_content_type,
        "invalid_utf8": behaviours.invalid_utf8,
        "nan": behaviours.nan,
        "error_in_200": behaviours.error_in_200,
        "redirect": behaviours.redirect,
        "gzip_bomb": behaviours.gzip_bomb,
        "slow": behaviours.slow,
        "slow_first_byte": behaviours.slow_first_byte,
        "trickle": behaviours.trickle,
        "hang": behaviours.hang,
        "empty_completion": behaviours.empty_completion,
        "content_filter": behaviours.content_filter,
        "prompt_blocked": behaviours.prompt_blocked,
        "refuse": behaviours.refuse,
        "stream_cut": behaviours.stream_cut,
        "stream_stall": behaviours.stream_stall,
        "stream_error_event": behaviours.stream_error_event,
        "stream_no_finish": behaviours.stream_no_finish,
    }
)
STREAM_ONLY: Final = frozenset({"stream_cut", "stream_stall", "stream_error_event", "stream_no_finish"})


def checked_fault(name: str) -> str:
    """The name, if it is a fault; ValueError names all of them."""
    if name not in FAULTS:
        raise ValueError(f"there is no fault {name!r}; use one of {', '.join(FAULTS)}")
    return name
