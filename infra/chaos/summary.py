"""`python -m infra.chaos.summary FOLDER`: the reports of `turnout chaos --json` in a folder, as a table in Markdown."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

HEAD = (
    "command", "faults", "requests", "answered", "ok", "errors", "lost", "answered twice", "calls", "bought twice",
    "run again by a new owner", "owners", "certain costs = bill, USD", "SQL differences", "broken",
)  # fmt: skip


def row(report: dict[str, Any]) -> list[str]:
    """One report as the columns of HEAD."""
    money = report["money_nano_usd"]
    certain, bill = money["certain"], money["bill_certain"]
    again = f" ({report['repeated']} again)" if report["repeated"] else ""
    return [
        f"`{report['command']}`", _counts(report["faults"]), f"{report['requests']}{again}", str(report["answered"]),
        str(report["answered_ok"]), _counts(report["errors"]), str(report["lost"]), str(report["answered_twice"]),
        str(report["calls"]), str(report["calls_bought_twice"]), str(report["bought_again_by_a_new_owner"]),
        str(report["owners"]), f"{certain / 1e9:.9f}" + ("" if certain == bill else f" and {bill / 1e9:.9f}"),
        str(report["sql_differences"]), _counts(report["broken"]),
    ]  # fmt: skip


def table(reports: Iterable[dict[str, Any]]) -> str:
    """Markdown, in the order given."""
    lines = [list(HEAD), ["---"] * len(HEAD), *map(row, reports)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


if __name__ == "__main__":
    print(table(orjson.loads(path.read_bytes()) for path in sorted(Path(sys.argv[1]).glob("*.json"))), end="")
