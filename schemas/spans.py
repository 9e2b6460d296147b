"""Spans of broker time that what is learned is counted in: how long each is, and how many of them are kept.

Whoever counts and whoever reads with decay must mean the same spans. A bucket's number is its instant // its length.
"""

from schemas.units import MICROS_PER_S

MINUTE = 60 * MICROS_PER_S
CALLS_SPAN, CALLS_KEPT = 5 * MINUTE, 12
"""What calls came to: an hour, so that a drift is found and forgotten again."""
LENGTHS_SPAN, LENGTHS_KEPT = 4 * 60 * MINUTE, 6
"""Lengths of answers: a day, because they belong to tasks and models, which change slowly."""
PACE_SPAN, PACE_KEPT = 5 * MINUTE, 3
"""Tokens a second: as long as health remembers."""
SCORES_SPAN, SCORES_KEPT = 24 * 60 * MINUTE, 28
"""Feedback: four weeks, because people give little of it."""
