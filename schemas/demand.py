"""What is expected of an hour by the same hour of the weeks before, or of the days before where no week is known yet."""

from collections.abc import Mapping

from schemas.periods import HOUR
from schemas.state import HourCalls

DAY_HOURS, WEEK_HOURS = 24, 168
WEEKS = 4
# A week more than is looked back, so that this hour's calls take no slot that its own forecast reads.
SLOTS = (WEEKS + 1) * WEEK_HOURS
MINUTES = 60


def expected_calls(calls: Mapping[int, int], hour: int) -> float | None:
    """Calls in an hour (a number of hours since 1970) by those before it; None without a day of history."""
    if not calls:
        return None
    first = min(calls)
    for step, most in ((WEEK_HOURS, WEEKS), (DAY_HOURS, WEEK_HOURS // DAY_HOURS)):
        past = [hour - step * back for back in range(1, most + 1) if hour - step * back >= first]
        if past:
            # An hour without a call left no record.
            return sum(calls.get(each, 0) for each in past) / len(past)
    return None


class Demand:
    """Owns the hours of every deployment as snapshots tell them."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[int, int]] = {}
        self._hour = -1
        self._expected: dict[str, float] = {}

    def put(self, subject: str, state: HourCalls) -> None:
        """A snapshot of kind `demand`."""
        slot, _, deployment = subject.partition("/")
        hours = self._calls.setdefault(deployment, {})
        for hour in [hour for hour in hours if hour % SLOTS == int(slot)]:
            del hours[hour]
        hours[state.start] = state.calls
        if state.start < self._hour:
            self._hour = -1

    def expected(self, now: int) -> Mapping[str, float]:
        """Calls a minute in the hour of `now` (microseconds), by deployment; without those that nothing is known of."""
        hour = now // HOUR
        if hour != self._hour:
            found = {name: expected_calls(hours, hour) for name, hours in self._calls.items()}
            self._expected = {name: calls / MINUTES for name, calls in found.items() if calls is not None}
            self._hour = hour
        return self._expected
