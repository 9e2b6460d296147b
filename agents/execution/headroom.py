"""What a provider says is left of its rate limits, from the headers of any answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agents.execution.retry_after import CAP_MS, capped, duration_ms

_ANTHROPIC_TOKENS = ("tokens", "input-tokens", "output-tokens")


@dataclass(frozen=True, slots=True)
class Headroom:
    """`requests`, `tokens`: left until the reset, None where not said. Resets in milliseconds, 0..CAP_MS."""

    requests: int | None = None
    requests_reset_ms: int = CAP_MS
    tokens: int | None = None
    tokens_reset_ms: int = CAP_MS


def headroom_of(headers: Mapping[str, str], *, now: float) -> Headroom | None:
    """From `x-ratelimit-*` or `anthropic-ratelimit-*`; None where neither stands. headers: lower-case names.
    now: Unix seconds. Of Anthropic's three kinds of tokens the one with the least left counts."""
    if "x-ratelimit-remaining-requests" in headers or "x-ratelimit-remaining-tokens" in headers:
        requests, requests_ms = _left(headers, "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", now)
        tokens, tokens_ms = _left(headers, "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", now)
    elif any(f"anthropic-ratelimit-{kind}-remaining" in headers for kind in ("requests", *_ANTHROPIC_TOKENS)):
        base = "anthropic-ratelimit-"
        requests, requests_ms = _left(headers, f"{base}requests-remaining", f"{base}requests-reset", now)
        each = [_left(headers, f"{base}{kind}-remaining", f"{base}{kind}-reset", now) for kind in _ANTHROPIC_TOKENS]
        told = [(left, reset_ms) for left, reset_ms in each if left is not None]
        tokens, tokens_ms = min(told, default=(None, CAP_MS))
    else:
        return None
    if requests is None and tokens is None:
        return None
    return Headroom(requests, requests_ms, tokens, tokens_ms)


def _left(headers: Mapping[str, str], remaining: str, reset: str, now: float) -> tuple[int | None, int]:
    text = headers.get(remaining, "").strip()
    # Without a reset it is not known how long the number holds.
    reset_ms = _reset_ms(headers.get(reset, "").strip(), now)
    if not text.isascii() or not text.isdigit() or len(text) > 15 or reset_ms is None:
        return None, CAP_MS
    return int(text), reset_ms


def _reset_ms(text: str, now: float) -> int | None:
    if not text:
        return None
    after = duration_ms(text)
    if after is not None:
        return capped(after)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return capped((moment.timestamp() - now) * 1_000) if moment.tzinfo is not None else None
