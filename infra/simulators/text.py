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


def sample_value(schema: Any, words: str, depth: int = 0) -> Any:
    """A value that fits the common part of a JSON schema; strings are `words`, numbers the lowest allowed."""
    if not isinstance(schema, Mapping) or depth > 8:
        return words
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(union), list) and schema[union]:
            return sample_value(schema[union][0], words, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        given = properties.items() if isinstance(properties, Mapping) else ()
        return {name: sample_value(inner, words, depth + 1) for name, inner in given}
    if kind == "array":
        least = schema.get("minItems")
        count = max(1, min(least, 16)) if isinstance(least, int) else 1
        return [sample_value(schema.get("items"), words, depth + 1)] * count
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"boolean": True, "null": None}.get(str(kind), words)
