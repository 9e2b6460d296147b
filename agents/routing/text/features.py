"""A prompt as integers: counts of character classes, lexicon words and marks, and hashed words and word pairs.

Integers alone, so a score is the same on every machine and with every build of numpy.
"""

from array import array
from dataclasses import dataclass
from itertools import repeat
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

_NO_CLASS = len(_CLASSES)
_CLASS_BY_BYTE = {byte: index for index, members in enumerate(_CLASSES) for byte in members}
_CLASS_OF = bytes(_CLASS_BY_BYTE.get(byte, _NO_CLASS) for byte in range(256))
"""Translation of a byte to its class; the classes share no byte."""
_LETTERS = bytes(range(97, 123)) + b" "
_POINTED = [
    (index, mark.decode("latin-1"), mark.translate(None, _LETTERS).decode("latin-1"))
    for index, mark in enumerate(_MARKS, _COUNTED)
]
"""Marks with what is left of them without letters and blanks: where that is missing, the mark is missing too."""
_GROUPS_OF = {word: bytes(groups) for word, groups in GROUP_OF.items()}
_NO_GROUP = repeat(b"")
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
    words = data.translate(_WORDS).split(None, MAX_WORDS)[:MAX_WORDS]
    size, count = max(len(data), 1), max(len(words), 1)

    # One pass in C each: classes of bytes, groups of words. The rates are per thousand characters or words.
    classes = np.bincount(np.frombuffer(data.translate(_CLASS_OF), np.uint8), minlength=_NO_CLASS + 1)[:_NO_CLASS]
    found = b"".join(map(_GROUPS_OF.get, words, _NO_GROUP))
    grouped = np.bincount(np.frombuffer(found, np.uint8), minlength=len(NAMES))
    raw = np.concatenate(
        (
            (size, count, data.count(b"\n"), data[:1].isupper(), data.rstrip().endswith(b"?"), size // count),
            classes,
            classes * 1000 // size,
            grouped,
            grouped * 200 // count,
        )
    )
    shape = np.zeros(SHAPE, dtype=np.int64)
    shape[:_COUNTED] = _LEVEL.take(raw, mode="clip")
    # A character a byte: searching a string is a third faster than searching bytes.
    lowered = data.lower()
    lower, pointed = lowered.decode("latin-1"), lowered.translate(None, _LETTERS).decode("latin-1")
    for index, mark, points in _POINTED:
        # Few bytes are no letters: most marks are ruled out without reading the text.
        if points in pointed and mark in lower:
            shape[index] = _MARK_LEVEL
    if words and words[0] in _START_OF:
        shape[_COUNTED + len(_MARKS) + _START_OF[words[0]]] = _MARK_LEVEL
    return Features(shape, _hashed(words))


def _hashed(words: list[bytes]) -> NDArray[np.int64]:
    if not words:
        return np.zeros(0, dtype=np.int64)
    count = len(words)
    codes = np.empty(2 * count - 1, dtype=np.uint32)
    single = codes[:count] = np.frombuffer(array("I", map(crc32, words)), np.uint32)
    pairs = single[:-1] * _FIRST + single[1:] * _SECOND
    codes[count:] = pairs ^ (pairs >> _SHIFT)
    hit = np.zeros(BUCKETS, dtype=bool)
    hit[(codes & _MASK).astype(np.intp)] = True
    return hit.nonzero()[0]
