"""The reports in the repository are clean, and their table says what they say."""

from pathlib import Path

import orjson

from infra import chaos
from infra.chaos.summary import HEAD, row, table

RESULTS = Path(chaos.__file__).parent / "results"


def test_the_table_is_that_of_the_reports() -> None:
    reports = [orjson.loads(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))]
    assert reports
    assert all(report["ok"] for report in reports)
    assert table(reports) in (RESULTS / "README.md").read_text()


def test_what_is_broken_shows_in_its_row() -> None:
    report = orjson.loads(next(RESULTS.glob("*.json")).read_bytes())
    money = report["money_nano_usd"] | {"bill_certain": report["money_nano_usd"]["certain"] + 1}
    shown = dict(zip(HEAD, row(report | {"money_nano_usd": money, "broken": {"costs_equal_bill": 1}}), strict=True))
    assert " and " in shown["certain costs = bill, USD"]
    assert shown["broken"] == "costs_equal_bill 1"
