"""A prompt as integers: counts of character classes, lexicon words and marks, and hashed words and word pairs.

Integers alone, so a score is the same on every machine and with every build of numpy.
"""

from dataclasses import dataclass
from math import log2
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.lexicon import GROUP_OF, NAMES

HEAD, TAIL = 440, 160
"""Characters read: how a request opens and how it ends say what it asks; the middle is its material."""
BUCKETS = 2048
MAX_WORDS = 110

_CLASSES: tuple[bytes, ...] = (
    b"0123456789", bytes(range(65, 91)), b"\n", b"$\\^", b"{}[]", b"()", b"=<>", b";", b"_", b"+-*/%", b"?", b"!", b".", b",",
    b"\"'`", b":", b"#|&@~", bytes(range(128, 256)), b"\t",
)  # fmt: skip
_MARKS: tuple[bytes, ...] = (
    b"def ", b"```", b"import ", b"():", b"();", b"</", b">>>", b'"""', b"\\frac", b"how many", b"how much", b"let $", b"\na. ",
    b"answer:", b"which of the following", b"write a ", b"do you", b" _ ", b"__", b"function that", b"python",
)  # fmt: skip
_START = tuple(
    b"what how write who why where which when find let def from a the if i i'm in there please hi hello do can could create "
    b"given two each all yes no you is are solve calculate explain analyze compare imagine".split()
)
_START_OF = {word: index for index, word in enumerate(_START)}

COUNT_NAMES = ("characters", "words", "lines", "capital_start", "question_end", "mean_word")
_COUNTED = len(COUNT_NAMES) + 2 * len(_CLASSES) + 2 * len(NAMES)
SHAPE = _COUNTED + len(_MARKS) + len(_START)
"""Length of the shape vector."""

_TO_CLASS = np.zeros((256, len(_CLASSES)), dtype=np.int64)
for _at, _members in enumerate(_CLASSES):
    _TO_CLASS[list(_members), _at] = 1
_WORDS = bytes(
    byte + 32 if 65 <= byte <= 90 else byte if 97 <= byte <= 122 or byte == 39 or byte >= 128 else 32
    for byte in range(256)
)
"""Translation that leaves lower-case letters, apostrophes and non-ASCII bytes, and blanks the rest."""
_LEVEL = np.array([round(16 * log2(1 + count)) for count in range(2048)], dtype=np.int64)
"""A count as a level: 16 x log2(1 + count)."""
_FIRST, _SECOND, _MASK = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B), np.uint32(BUCKETS - 1)
_SHIFT = np.uint32(16)
_MARK_LEVEL = 16


@dataclass(frozen=True, slots=True)
class Features:
    """`shape`: int64 (SHAPE,), levels of 0 to 176. `buckets`: int64, ascending, unique, below BUCKETS."""

    shape: NDArray[np.int64]
    buckets: NDArray[np.int64]


def features(text: str) -> Features:
    """Features of a prompt. Reads its first 440 and last 160 characters."""
    if len(text) > HEAD + TAIL:
        text = text[:HEAD] + "\n" + text[-TAIL:]
    data = text.encode("utf-8", "replace")
    words = data.translate(_WORDS).split()[:MAX_WORDS]
    size, count = max(len(data), 1), max(len(words), 1)

    # Counting needs the array of bytes once; the rates are per thousand characters or words.
    classes = np.bincount(np.frombuffer(data, np.uint8), minlength=256) @ _TO_CLASS
    found = [group for some in map(GROUP_OF.get, words) if some for group in some]
    grouped = np.bincount(np.array(found, dtype=np.int64), minlength=len(NAMES))
    lower = data.lower()
    raw = np.empty(_COUNTED, dtype=np.int64)
    raw[: len(COUNT_NAMES)] = (
        size,
        count,
        data.count(b"\n"),
        data[:1].isupper(),
        data.rstrip().endswith(b"?"),
        size // count,
    )
    at = len(COUNT_NAMES)
    for part in (classes, classes * 1000 // size, grouped, grouped * 200 // count):
        raw[at : at + len(part)] = part
        at += len(part)
    shape = np.zeros(SHAPE, dtype=np.int64)
    shape[:_COUNTED] = _LEVEL[np.minimum(raw, len(_LEVEL) - 1)]
    for index, mark in enumerate(_MARKS, _COUNTED):
        if mark in lower:
            shape[index] = _MARK_LEVEL
    if words and words[0] in _START_OF:
        shape[_COUNTED + len(_MARKS) + _START_OF[words[0]]] = _MARK_LEVEL
    return Features(shape, _hashed(words))


def _hashed(words: list[bytes]) -> NDArray[np.int64]:
    if not words:
        return np.zeros(0, dtype=np.int64)
    single = np.array(list(map(crc32, words)), dtype=np.uint32)
    pairs = single[:-1] * _FIRST + single[1:] * _SECOND
    pairs ^= pairs >> _SHIFT
    hit = np.zeros(BUCKETS, dtype=bool)
    hit[single & _MASK] = True
    hit[pairs & _MASK] = True
    return np.flatnonzero(hit)
