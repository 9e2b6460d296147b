"""Request bodies in a file or on standard input: one JSON object, or JSON Lines."""

import sys
from pathlib import Path
from typing import Any

EXPECTED = "one JSON object with `messages`, or JSON Lines with one on each line"


def read_bodies(file: str) -> list[dict[str, Any]]:
    """Request bodies of a file or of stdin. Raises ConfigurationError that names the line at fault."""
    from schemas.errors import ConfigurationError

    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file[:80]} cannot be read ({error.strerror}); name a file that holds {EXPECTED}, or - for stdin"
        ) from None
    return parse_bodies(text, "stdin" if file == "-" else file)


def parse_bodies(text: bytes, name: str) -> list[dict[str, Any]]:
    """One JSON object, or JSON Lines. Raises ConfigurationError that names the line at fault."""
    import orjson

    from schemas.errors import ConfigurationError

    broken_at = 1
    try:
        whole = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        whole, broken_at = None, error.lineno
    if isinstance(whole, dict):
        return [whole]
    bodies: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            body = orjson.loads(line)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            # An object over many lines breaks where JSON says, not at its first line.
            at = number if bodies else max(number, broken_at)
            raise ConfigurationError(f"{name}:{at}: this is not a JSON object; {name} must hold {EXPECTED}")
        bodies.append(body)
    if not bodies:
        raise ConfigurationError(f"{name} is empty; it must hold {EXPECTED}")
    return bodies
