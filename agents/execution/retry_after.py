"""How long a provider asks to wait, from the headers of its answer."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

CAP_MS = 120_000
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_DIMENSIONS = ("requests", "tokens")
_ANTHROPIC = ("requests", "tokens", "input-tokens", "output-tokens")


def retry_after_ms(headers: Mapping[str, str], *, now: float) -> int | None:
    """Milliseconds, 0..CAP_MS, from `retry-after-ms`, else `retry-after` (seconds or an HTTP date); None: not said.

    headers: lower-case names. now: Unix seconds.
    """
    exact = _number(headers.get("retry-after-ms", ""))
    if exact is not None:
        return capped(exact)
    given = headers.get("retry-after", "").strip()
    if not given:
        return None
    seconds = _number(given)
    if seconds is not None:
        return capped(seconds * 1_000)
    try:
        return capped((parsedate_to_datetime(given).timestamp() - now) * 1_000)
    except (ValueError, OverflowError):
        return None


def reset_moment_ms(headers: Mapping[str, str], *, now: float) -> int | None:
    """Milliseconds until the limit that is used up resets, from `anthropic-ratelimit-*` (RFC 3339); None: not said.

    Only a limit at zero counts: the others reset too, at moments that have nothing to do with the refusal.
    """
    used_up = []
    for dimension in _ANTHROPIC:
        base = f"anthropic-ratelimit-{dimension}"
        if headers.get(f"{base}-remaining", "").strip() != "0":
            continue
        try:
            moment = datetime.fromisoformat(headers.get(f"{base}-reset", "").strip())
        except ValueError:
            continue
        if moment.tzinfo is not None:
            used_up.append((moment.timestamp() - now) * 1_000)
    return capped(max(used_up)) if used_up else None


def limit_reset_ms(headers: Mapping[str, str]) -> int | None:
    """Milliseconds until the limit that is used up resets, from `x-ratelimit-reset-*` such as `6m0s`; None: not said.

    With no limit at zero (a large request met a small rest) the longest reset counts.
    """
    resets: list[float] = []
    used_up: list[float] = []
    for dimension in _DIMENSIONS:
        text = headers.get(f"x-ratelimit-reset-{dimension}", "").strip()
        reset = duration_ms(text) if text else None
        if reset is None:
            continue
        resets.append(reset)
        if headers.get(f"x-ratelimit-remaining-{dimension}", "").strip() == "0":
            used_up.append(reset)
    return capped(max(used_up or resets)) if resets else None


def duration_ms(text: str) -> float | None:
    """Milliseconds of seconds or of parts such as `6m0s`, `37s`, `120ms`; None: no duration."""
    seconds = _number(text)
    if seconds is not None:
        return seconds * 1_000
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_MS[unit] for number, unit in parts)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def capped(ms: float) -> int:
    """Whole milliseconds within 0..CAP_MS."""
    return int(min(max(ms, 0.0), CAP_MS))
