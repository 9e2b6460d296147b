"""How deep JSON may be nested. orjson reads 1,024 levels and writes 254; what is let in must be written again, inside of more."""

from typing import Any

MOST = 200


def too_deep(text: bytes | str, value: Any) -> bool:
    """Whether `value`, read from `text`, has more than MOST levels."""
    # It cannot be deeper than it has brackets, and hardly any has that many.
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    return brackets > MOST and _deeper(value, MOST)


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other more than `levels` deep; level by level, so without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        level = [
            item
            for node in level
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True
