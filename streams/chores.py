"""What a sink does to its database beside copying."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Chore:
    """Done between two batches, first at once and then every `every_s`. `run` takes the time in microseconds.

    `due_at`: on the monotonic clock, in seconds.
    """

    name: str
    every_s: float
    run: Callable[[int], object]
    due_at: float = 0.0
