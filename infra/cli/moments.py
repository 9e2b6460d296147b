"""Moments as people write them."""

import time
from datetime import UTC, datetime

from schemas.errors import ConfigurationError
from schemas.units import MICROS_PER_S


def moment(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 text, UTC where it names no zone; `now` is this machine's clock.

    Raises ConfigurationError.
    """
    if text == "now":
        return time.time_ns() // 1_000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text} is no moment; write one such as 2026-11-25T12:00:00Z") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp()) * MICROS_PER_S + found.microsecond
