"""Draws from a seed."""

from __future__ import annotations

import cython
import numpy as np

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


def contests(
    scores: cython.float[::1], spreads: cython.float[::1], normals: cython.float[::1], draws: int
) -> tuple[int, list[int]]:  # fmt: skip
    """Which place won the first draw of score + spread x normal, and how many of the draws each won; equals to the first.

    `normals`: draws x places of them.
    """
    size: cython.Py_ssize_t = scores.shape[0]
    if not cython.compiled:
        found = (scores + spreads * normals.reshape(draws, size)).argmax(axis=1)
        return int(found[0]), np.bincount(found, minlength=size).tolist()
    number: cython.Py_ssize_t
    k: cython.Py_ssize_t
    best: cython.Py_ssize_t
    first: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    value: cython.float
    most: cython.float
    won: list[int] = [0] * size
    for number in range(draws):
        best = 0
        most = scores[0] + spreads[0] * normals[at]
        for k in range(1, size):
            value = scores[k] + spreads[k] * normals[at + k]
            if value > most:
                best, most = k, value
        at += size
        won[best] += 1
        if number == 0:
            first = best
    return first, won
