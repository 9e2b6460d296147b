"""Log buckets of latencies in milliseconds, as health writes them and decisions read them.

An octave has 16 buckets of equal width, so a bucket is 3 to 6 % of its value wide. The index comes from the float's own
exponent and mantissa, not from a logarithm, so that every machine puts a value into the same bucket.
"""

import math
from functools import lru_cache

PER_OCTAVE = 16
COARSE = 4
SMALLEST_MS = 0.001
LARGEST_MS = 1e9


def bucket(ms: float) -> int:
    """The bucket of a latency. What is below a microsecond (or no number) counts as one, above 11 days as that."""
    if not ms > SMALLEST_MS:
        ms = SMALLEST_MS
    elif ms > LARGEST_MS:
        ms = LARGEST_MS
    mantissa, exponent = math.frexp(ms)
    return exponent * PER_OCTAVE + int((mantissa - 0.5) * 2 * PER_OCTAVE)


@lru_cache(maxsize=1024)
def value_of(index: int) -> float:
    """The middle of a bucket in milliseconds."""
    exponent, part = divmod(index, PER_OCTAVE)
    return math.ldexp(0.5 + (part + 0.5) / (2 * PER_OCTAVE), exponent)


def coarse(value: float) -> int:
    """The bucket of a length in tokens: four an octave, so 12 to 25 % wide, a few numbers where `bucket` has many."""
    return bucket(value) // COARSE


def coarse_top(index: int) -> float:
    """The upper end of a coarse bucket: what 99 of 100 stay below must not be told too low."""
    exponent, part = divmod(index, PER_OCTAVE // COARSE)
    return math.ldexp(0.5 + (part + 1) / (2 * PER_OCTAVE // COARSE), exponent)
