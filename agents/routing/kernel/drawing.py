"""Draws from a seed."""

from __future__ import annotations

import cython

UNIT = float(1 << 64)


def mixed(seed: int) -> int:
    """splitmix64: seeds in a row become numbers all over 0..2**64."""
    mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
    first: cython.ulonglong = 0xBF58476D1CE4E5B9
    second: cython.ulonglong = 0x94D049BB133111EB
    value: cython.ulonglong = (seed + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 30) * first) & mask
    value = ((value ^ value >> 27) * second) & mask
    return value ^ value >> 31


def drawn(shares: list[float], places: list[int], seed: int) -> int:
    """One of the places, drawn in proportion to its share."""
    at: cython.Py_ssize_t
    total: cython.double = 0.0
    share: cython.double
    for at in range(len(shares)):
        share = shares[at]
        total += share
    target: cython.double = mixed(seed) / UNIT * total
    reached: cython.double = 0.0
    for at in range(len(shares)):
        share = shares[at]
        reached += share
        if reached > target:
            return places[at]
    return places[-1]
