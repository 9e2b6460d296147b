"""Seeded English: one corpus a seed, of which an answer is a slice, so that a text costs no time to write."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

MAX_TOKENS: Final = 16_384
_SENTENCES: Final = 2_048


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split("|"))


_SUBJECTS = _listed(
    "the first approach|a smaller model|the team|this design|each request|the cache|a careful reader|the report|"
    "our estimate|the second table|a simple queue|the index|the new schedule|an early warning|the river valley|"
    "the old lighthouse|a good teacher|the committee|the parser|the last measurement"
)
_VERBS = _listed(
    "explains|reduces|depends on|improves|replaces|keeps|describes|limits|follows|supports|precedes|"
    "balances|shows|confirms|protects|questions|rewards|simplifies"
)
_OBJECTS = _listed(
    "the cost of waiting|most of the errors|a clear boundary|the number of retries|the shape of the data|"
    "a steady rhythm|the original question|an honest comparison|the longer path|the remaining risk|"
    "what people expect|the order of events|a shared vocabulary|the quiet hours|the final answer|the next decision"
)
_TAILS = _listed(
    "in most cases|under load|without extra work|when time is short|for the same price|over many years|"
    "as the numbers suggest|at every scale|before anything else|in plain language|on a slow morning"
)
_LINKS = _listed("however|for example|in short|therefore|as a rule|in practice|even so|on balance")


class Corpus:
    """Sentences as one string; a token is a word with the space before it."""

    __slots__ = ("_next_end", "_offsets", "_starts", "_text")

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        tokens: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for _ in range(_SENTENCES):
            starts.append(len(tokens))
            tokens.extend(" " + word for word in _sentence(rng).split(" "))
            ends.append(len(tokens))
        self._starts = starts
        size = len(tokens)
        # Twice over, so that a slice of MAX_TOKENS fits behind every start.
        tokens *= 2
        assert size > MAX_TOKENS, size
        self._text = "".join(tokens)
        offsets = [0]
        for token in tokens:
            offsets.append(offsets[-1] + len(token))
        self._offsets = offsets
        next_end = [0] * (2 * size + 1)
        last = 2 * size
        marks = set(ends) | {end + size for end in ends}
        for at in range(2 * size, -1, -1):
            if at in marks:
                last = at
            next_end[at] = last
        self._next_end = next_end

    def passage(self, draw: int, tokens: int) -> tuple[int, int]:
        """[first, end) of whole sentences with at least `tokens` tokens (at most about MAX_TOKENS)."""
        first = self._starts[draw % _SENTENCES]
        return first, self._next_end[min(first + min(tokens, MAX_TOKENS), len(self._next_end) - 1)]

    def text(self, first: int, end: int) -> str:
        """The tokens [first, end) with the spaces before them."""
        return self._text[self._offsets[first] : self._offsets[end]]


def _sentence(rng: random.Random) -> str:
    words = f"{rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
    if rng.random() < 0.6:
        words += f" {rng.choice(_TAILS)}"
    if rng.random() < 0.3:
        words += f", and {rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
    if rng.random() < 0.25:
        words = f"{rng.choice(_LINKS)}, {words}"
    return words[0].upper() + words[1:] + "."


_FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-05-01", "date-time": "2026-05-01T12:00:00Z", "time": "12:00:00Z", "email": "reader@example.com",
    "uri": "https://example.com/page", "uuid": "6f1f9a52-0b1c-4c55-9a3e-2f6b7a8c9d01",
}  # fmt: skip


def sample_value(schema: Any, words: str, depth: int = 0, root: Any = None) -> Any:
    """A value that fits the common part of a JSON schema (also in Gemini's spelling); strings are made of `words`."""
    if not isinstance(schema, Mapping) or depth > 12:
        return words
    root = schema if root is None else root
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return sample_value(_referred(root, reference), words, depth + 1, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(union), list) and schema[union]:
            return sample_value(schema[union][0], words, depth + 1, root)
    kind = schema.get("type")
    kind = str(kind[0] if isinstance(kind, list) and kind else kind).lower()
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        given = dict(properties) if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        needed = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        # A schema that refers to itself ends where only what it requires is given.
        names = needed if depth > 4 else dict.fromkeys([*given, *needed])
        return {name: sample_value(given.get(name), words, depth + 1, root) for name in names}
    if kind == "array":
        least = schema.get("minItems")
        count = max(0 if depth > 4 else 1, min(least, 16) if isinstance(least, int) else 0)
        return [sample_value(schema.get("items"), words, depth + 1, root)] * count
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "string":
        return _string(schema, words)
    return {"boolean": True, "null": None}.get(kind, words)


def _referred(root: Any, reference: str) -> Any:
    at = root
    for name in reference.removeprefix("#").split("/"):
        if name:
            at = at.get(name) if isinstance(at, Mapping) else None
    return at


def _number(schema: Mapping[str, Any]) -> Any:
    """The lowest that the bounds allow, else 1 or the highest."""
    if isinstance(schema.get("minimum"), int | float):
        return schema["minimum"]
    if isinstance(schema.get("exclusiveMinimum"), int | float):
        return schema["exclusiveMinimum"] + 1
    most = schema.get("maximum")
    return min(1, most) if isinstance(most, int | float) else 1


def _string(schema: Mapping[str, Any], words: str) -> str:
    value = _FORMATS.get(str(schema.get("format")), words)
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and 0 < len(value) < least:
        value = (value + " ") * (least // len(value) + 1)
    return value[:most] if isinstance(most, int) else value
