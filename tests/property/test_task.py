from itertools import pairwise
from math import log2
from zlib import crc32

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from agents.routing.text.features import (
    _CLASSES,
    _MARKS,
    _START,
    BUCKETS,
    HEAD,
    MAX_WORDS,
    SHAPE,
    TAIL,
    features,
)
from agents.routing.text.lexicon import GROUP_OF, NAMES
from agents.routing.text.model import TASKS, shipped, task_of_text

ANY_TEXT = st.text(alphabet=st.characters(codec=None), max_size=3000)


@given(ANY_TEXT)
def test_any_text_has_a_task_and_the_same_one_again(text):
    assert task_of_text(text) == task_of_text(text)
    assert task_of_text(text) in TASKS


@given(ANY_TEXT)
def test_features_stay_within_their_bounds(text):
    seen = features(text)
    assert seen.shape.shape == (SHAPE,)
    assert seen.shape.dtype == np.int64
    assert 0 <= seen.shape.min() <= seen.shape.max() <= 176
    assert len(np.unique(seen.buckets)) == len(seen.buckets)
    assert not len(seen.buckets) or (seen.buckets.min() >= 0 and seen.buckets.max() < BUCKETS)
    assert shipped().scores(seen).dtype == np.int64


@given(ANY_TEXT, ANY_TEXT)
def test_only_head_and_tail_are_read(left, right):
    head, tail = left.ljust(HEAD, "a")[:HEAD], right.rjust(TAIL, "b")[-TAIL:]
    one, two = features(head + "middle" + tail), features(head + "another middle" * 9 + tail)
    assert (one.shape == two.shape).all()
    assert np.array_equal(one.buckets, two.buckets)


WORDY = st.lists(
    st.sampled_from([*(mark.decode() for mark in _MARKS), *(word.decode() for word in list(GROUP_OF)[::7]), *"Aé9\n?.'\"`:_ İK"]),
    max_size=200,
).map("".join)  # fmt: skip


def level(count: int) -> int:
    return round(16 * log2(1 + min(count, 2047)))


def plainly(text: str) -> tuple[list[int], list[int]]:
    """What `features` says it does, byte by byte and word by word."""
    if len(text) > HEAD + TAIL:
        text = text[:HEAD] + "\n" + text[-TAIL:]
    data = text.encode("utf-8", "replace")
    lower = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in data)
    spaced = bytes(byte if 97 <= byte <= 122 or byte == 39 or byte >= 128 else 32 for byte in lower)
    words = spaced.split()[:MAX_WORDS]
    size, count = max(len(data), 1), max(len(words), 1)
    classes = [sum(byte in members for byte in data) for members in _CLASSES]
    grouped = [sum(GROUP_OF.get(word, []).count(group) for word in words) for group in range(len(NAMES))]
    counts = [size, count, data.count(b"\n"), data[:1].isupper(), data.rstrip().endswith(b"?"), size // count]
    counts += [*classes, *(n * 1000 // size for n in classes), *grouped, *(n * 200 // count for n in grouped)]
    shape = [level(n) for n in counts] + [16 * (mark in lower) for mark in _MARKS]
    shape += [16 * (bool(words) and words[0] == word) for word in _START]
    single = [crc32(word) for word in words]
    mixed = [(a * 0x9E3779B1 + b * 0x85EBCA6B) % (1 << 32) for a, b in pairwise(single)]
    return shape, sorted({code % BUCKETS for code in (*single, *(pair ^ pair >> 16 for pair in mixed))})


@given(st.one_of(ANY_TEXT, WORDY))
@example("")
@example("\u212a __ \\frac ``` how many")
def test_features_are_what_a_plain_reading_gives(text):
    """The trained models are data: they fit these features and no others."""
    seen = features(text)
    shape, buckets = plainly(text)
    assert seen.shape.tolist() == shape
    assert seen.buckets.tolist() == buckets
    assert seen.buckets.dtype == np.int64


def test_no_byte_has_two_classes():
    members = b"".join(_CLASSES)
    assert len(set(members)) == len(members)
