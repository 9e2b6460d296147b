"""How deep JSON may be nested. orjson reads 1,024 levels and writes 254: what is let in must be written again, inside of more."""

from typing import Any

import orjson

MOST = 200
_WRITTEN = 254


def too_deep(text: bytes | str, value: Any) -> bool:
    """Whether `value`, read from `text`, has more than MOST levels. Cheap for a text without so many brackets."""
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if brackets <= MOST:
        return False
    for _ in range(_WRITTEN - MOST):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
