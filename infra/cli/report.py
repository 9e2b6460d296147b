"""`turnout report`: how targets were kept over a period, what explains a breach, what will be spent; from SQL alone."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.options import AsJson, Config, print_json, print_table, settings_of

if TYPE_CHECKING:
    from schemas.policy import Period
    from streams.settings import Settings

app = typer.Typer(
    help="Reports from SQL.\n\n\b\nExample:\n  turnout report sla --period week",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
Rows = list[dict[str, Any]]
STEP_MINUTES = {"day": 30, "week": 180, "month": 720}
TIME_PARTS = 10
MAX_BEFORE_S = 24 * 3_600
"""A breach is held against the day before it, or as long as its window is where that is longer."""


MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class ReportPeriod(StrEnum):
    """UTC; weeks start on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class ReportFormat(StrEnum):
    """html is one file without anything from elsewhere."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


@app.command("sla")
def sla(
    period: Annotated[ReportPeriod, typer.Option(help="The period that has --at in it.")] = ReportPeriod.DAY,
    output: Annotated[ReportFormat, typer.Option("--format", help="text, json or html.")] = ReportFormat.TEXT,
    at: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day, UTC; today by default.")] = None,
    config: Config = None,
) -> None:
    """How every target was kept over a period: share of minutes met, values, error budget, breaches.

    \b
    Example:
      turnout report sla --period month --format html > sla.html
    """
    document = sla_report(settings_of(config), period.value, at.replace(tzinfo=UTC) if at else datetime.now(UTC))
    if output is ReportFormat.JSON:
        print_json(document, indent=True)
    elif output is ReportFormat.HTML:
        from infra.cli.report_html import page

        typer.echo(page(document))
    else:
        _print(document)


@app.command("forecast")
def forecast(
    period: Annotated[ReportPeriod, typer.Option(help="The period that has --at in it.")] = ReportPeriod.MONTH,
    at: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Forecast as of then, UTC; now by default.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """What the whole, each tenant and each provider will have spent at the period's end, with an 80 % interval.

    Looks at 42 days of hourly spend at most; empty where fewer than three whole days are known. Periods are UTC.

    \b
    Example:
      turnout report forecast --period week
    """
    found = forecast_report(settings_of(config), period.value, at.replace(tzinfo=UTC) if at else datetime.now(UTC))
    if as_json:
        print_json(found, indent=True)
    elif not found["scopes"]:
        typer.echo("nothing was spent in the last 42 days")
    else:
        typer.echo(f"Spend of the {found['period']} from {found['since']} to {found['until']} UTC, as of {found['at']}")
        print_table(tuple(found["scopes"][0]), [list(row.values()) for row in found["scopes"]])


@app.command("cause")
def cause(
    breach: Annotated[str, typer.Argument(metavar="SUBJECT#N", help="A breach, as `turnout report sla` names it.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Which deployment, model, region, provider, tenant, kind of failure or time explains a breach, with shares.

    \b
    Example:
      turnout report cause "success_rate/global/900#1"
    """
    found = causes(settings_of(config), breach)
    if as_json:
        print_json(found, indent=True)
    elif not found:
        typer.echo("nothing explains it: no more bad attempts than in the time before")
    else:
        columns = ("dimension", "value", "share", "traffic", "lift")
        print_table(columns, [[row[name] for name in columns] for row in found])


def period_of(period: str, at: datetime) -> tuple[datetime, datetime]:
    """First and last instant (not in it) of the UTC period that `at` is in."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return day, day + timedelta(days=1)
        case "week":
            start = day - timedelta(days=day.weekday())
            return start, start + timedelta(days=7)
        case _:
            start = day.replace(day=1)
            return start, (start + timedelta(days=32)).replace(day=1)


def sla_report(settings: "Settings", period: str, at: datetime) -> dict[str, Any]:
    """The report as a document: period, targets each with its series, breaches. Raises OperationError."""
    since, until = period_of(period, at)
    given = {"since": _moment(since), "until": _moment(until), "minutes": str(STEP_MINUTES[period])}
    series: dict[tuple[Any, ...], Rows] = {}
    for row in _rows(settings, "sla_report_series", given):
        point = {name: row[name] for name in ("start", "mean", "compliance")}
        series.setdefault((row["metric"], row["scope"], row["window_s"]), []).append(point)
    breaches = _rows(settings, "sla_report_breaches", given)
    targets = _rows(settings, "sla_report", given)
    for row in targets:
        key = row["metric"], row["scope"], row["window_s"]
        own = [each for each in breaches if (each["metric"], each["scope"], each["window_s"]) == key]
        row["breaches"] = len(own)
        row["series"] = series.get(key, [])
    return {
        "period": period,
        "since": _moment(since),
        "until": _moment(until),
        "targets": targets,
        "breaches": breaches,
    }


def forecast_report(settings: "Settings", period: "Period", at: datetime) -> dict[str, Any]:
    """Forecasts as a document: period, scopes each with US dollars spent, to come, limit. Raises OperationError."""
    from projections.clickhouse.forecasts import forecast_rows, history_start
    from schemas.units import MICROS_PER_S

    since, until = period_of(period, at)
    now = int(at.timestamp()) * MICROS_PER_S
    first = datetime.fromtimestamp(history_start(now, period) // MICROS_PER_S, UTC)
    spend = _rows(settings, "spend_by_hour", {"since": _moment(first)})
    limits = {row["scope"]: row["limit_usd"] for row in _rows(settings, "limits", {"period": period})}
    return {
        "period": period,
        "since": _moment(since),
        "until": _moment(until),
        "at": _moment(at),
        "scopes": forecast_rows(spend, limits, now, period),
    }


def causes(settings: "Settings", breach: str) -> Rows:
    """Explanations of a breach, the best first. Raises OperationError where there is no such breach."""
    from dataclasses import asdict

    from projections.attribution import Part, explanations
    from schemas.errors import OperationError

    found = _rows(settings, "breach", {"breach": breach})
    if not found:
        raise OperationError(f"No breach {breach} is in SQL; `turnout report sla` names those of a period.")
    (row,) = found
    window_s = int(row["window_s"])
    since = datetime.fromtimestamp(int(row["began"]) - window_s, UTC)
    given = {
        "since": _moment(since),
        # The second that it ended in still belongs to it.
        "until": _moment(datetime.fromtimestamp(int(row["ended"]) + 1, UTC)),
        "before": _moment(since - timedelta(seconds=max(MAX_BEFORE_S, window_s))),
        "scope": row["scope"],
        "width": str(max(1, (int(row["ended"]) - int(row["began"]) + window_s) // TIME_PARTS)),
        "slow": str(row["target"]) if row["metric"] == "latency_p95_ms" else "0",
    }
    parts = [
        Part(each["dimension"], each["part_value"], *(
            int(each[name]) for name in ("bad", "whole", "bad_before", "whole_before")
        ))
        for each in _rows(settings, "cause", given)
    ]  # fmt: skip
    return [
        {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(each).items()}
        for each in explanations(_whole_failures(parts))
    ]


def _whole_failures(parts: "list[Any]") -> "list[Any]":
    """Kinds of failure among all attempts: every attempt could have failed in every way."""
    from dataclasses import replace

    deployments = [part for part in parts if part.dimension == "deployment"]
    whole, before = sum(part.whole for part in deployments), sum(part.whole_before for part in deployments)
    return [
        replace(part, whole=whole, whole_before=before) if part.dimension == "failure" else part for part in parts
    ]  # fmt: skip


def _rows(settings: "Settings", name: str, parameters: dict[str, str]) -> Rows:
    import orjson

    from infra.cli.sql import ask
    from projections.clickhouse.queries import QUERIES

    answer = ask(settings, QUERIES[name], "JSONEachRow", parameters)
    return [_numbers(orjson.loads(line)) for line in answer.content.splitlines() if line]


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    """ClickHouse writes 64-bit integers as strings, so that JavaScript keeps them."""
    return {name: int(v) if isinstance(v, str) and name != "value" and v.isdigit() else v for name, v in row.items()}


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"SLA of the {document['period']} from {document['since']} to {document['until']} UTC")
    columns = ("metric", "scope", "window_s", "target", "mean", "worst", "met", "budget spent", "breaches")
    print_table(columns, [target_cells(row) for row in document["targets"]])
    if document["breaches"]:
        names = ("breach", "severity", "began", "ended", "value", "target", "reason")
        print_table(names, [[row[name] for name in names] for row in document["breaches"]])


def target_cells(row: dict[str, Any]) -> list[str]:
    """A target's line, as text and HTML both show it."""
    from projections.measure import HIGHER_IS_BETTER

    worst = row["lowest"] if row["metric"] in HIGHER_IS_BETTER else row["highest"]
    return [
        row["metric"], row["scope"], str(row["window_s"]), _number(row["wanted"]), _number(row["mean"]), _number(worst),
        _percent(row["compliance"]), _percent(row["budget_spent"]), str(row["breaches"]),
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.2f} %"
