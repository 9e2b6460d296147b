"""Quality of an answer by deployment and task: the model's profile as prior, feedback as evidence; mean and spread."""

import math
from collections.abc import Mapping, Sequence

from schemas.spans import SCORES_KEPT, SCORES_SPAN
from schemas.state import QualityState, ScoresBucket

# A profile that no feedback has confirmed, and what one person's score says: one standard deviation of each.
QUALITY_SPREAD, SCORE_SPREAD = 0.1, 0.3
SUPPOSED_SCORES = 3.0
"""How far scores scatter is supposed with the weight of three of them: graders agree more, or less, than people do."""
DECAY = tuple(0.5 ** (age / 7) for age in range(SCORES_KEPT))
"""Evidence halves in a week."""


class Qualities:
    """Owns the feedback on all positions of a catalog. `refresh` says whether anything changed."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._nothing: list[QualityState | None] = [None] * len(ids)
        self._seen = self._nothing
        self._day = -1

    def refresh(self, quality: Mapping[str, QualityState] | None, now: int) -> bool:
        """Bring it up to `now` (microseconds)."""
        day = now // SCORES_SPAN
        states = list(map(quality.get, self._ids)) if quality else self._nothing
        if day == self._day and states == self._seen:
            return False
        self._seen, self._day = states, day
        return True

    def of(self, position: int, task: str, profile: float) -> tuple[float, float]:
        """Mean and one standard deviation. `profile`: what the catalog says of the model."""
        state = self._seen[position]
        return believed_quality(profile, state.tasks.get(task, ()) if state else (), self._day)


def believed_quality(profile: float, buckets: Sequence[ScoresBucket], day: int) -> tuple[float, float]:
    """Mean and one standard deviation of the mean, 0 to 1, on `day`."""
    count = total = squares = 0.0
    for bucket in buckets:
        # A worker's day may lag the broker's by one.
        age = max(0, day - bucket.day)
        if age < SCORES_KEPT:
            keep = DECAY[age]
            count += keep * bucket.count
            total += keep * bucket.total / 1000
            squares += keep * bucket.squares / 1_000_000
    if not count:
        return profile, QUALITY_SPREAD
    scattered = SUPPOSED_SCORES * SCORE_SPREAD**2 + max(0.0, squares - total * total / count)
    noise = scattered / (SUPPOSED_SCORES + count)
    # The profile counts like as many scores as it takes to know as much as it says.
    prior = noise / QUALITY_SPREAD**2
    return (prior * profile + total) / (prior + count), math.sqrt(noise / (prior + count))
