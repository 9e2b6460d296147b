"""Raw events are dropped by whole months; what they came to by the hour and the minute stays for good."""

from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client

from schemas.units import MICROS_PER_S

RAW = (
    "log", "answers_by_time", "attempts_by_time", "charges_by_time", "choices_by_time", "estimates_by_time",
)  # fmt: skip
"""Tables with a partition for each month of acceptance. A month is dropped in a moment, however much it holds."""


def kept_since(now: int, months: int) -> datetime:
    """The start of the oldest month that is kept: `months` before the one that `now` (microseconds) is in, UTC."""
    today = datetime.fromtimestamp(now / MICROS_PER_S, UTC)
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


class Retention:
    """Drops months. `months`: how many are kept besides the current one, 1 or more."""

    def __init__(self, client: Client, months: int) -> None:
        self._client, self._months = client, months

    def prune(self, now: int) -> list[str]:
        """Drop what is older; what was dropped, as TABLE/YYYYMM. `now`: microseconds."""
        since = kept_since(now, self._months)
        old: list[tuple[str, str]] = self._client.query(
            "SELECT DISTINCT table, partition FROM system.parts WHERE database = 'turnout' AND active"
            " AND table IN {tables:Array(String)} AND partition < {month:String} ORDER BY partition, table",
            parameters={"tables": list(RAW), "month": f"{since:%Y%m}"},
        ).result_rows
        if old:
            # First: until then the rollups of a month that is half gone would look as if they drifted.
            self._client.insert("turnout.kept", [[since]], column_names=["since"])
        for table, month in old:
            self._client.command(f"ALTER TABLE turnout.{table} DROP PARTITION {int(month)}")
        return [f"{table}/{month}" for table, month in old]
