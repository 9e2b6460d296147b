"""The compliance report as one HTML file: tables and inline SVG, nothing loaded from elsewhere."""

from html import escape
from typing import Any

from infra.cli.report import target_cells

WIDTH, HEIGHT, MARGIN = 720, 160, 8
STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:60em;color:#222}table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #ddd;padding:4px 8px;text-align:left}svg{width:100%;background:#fafafa}"
    ".line{fill:none;stroke:#2563eb;stroke-width:2}.target{stroke:#d00000;stroke-dasharray:6 4}"
)
HEADINGS = ("Metric", "Scope", "Window, s", "Target", "Mean", "Worst", "Minutes met", "Error budget spent", "Breaches")
BREACH_HEADINGS = ("Breach", "Severity", "Began", "Ended", "Value", "Target", "Reason")


def page(document: dict[str, Any]) -> str:
    """A report of `sla_report`."""
    title = f"SLA of the {document['period']} from {document['since']} to {document['until']} UTC"
    breaches = [
        [str(row[name] if row[name] is not None else "open") for name in
         ("breach", "severity", "began", "ended", "value", "target", "reason")]
        for row in document["breaches"]
    ]  # fmt: skip
    charts = "".join(
        f"<h2>{escape(row['metric'])} of {escape(row['scope'])}</h2>{chart(row['series'], row['wanted'])}"
        for row in document["targets"]
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"</head><body><h1>{escape(title)}</h1>{_table(HEADINGS, [target_cells(row) for row in document['targets']])}"
        f"{charts}<h2>Breaches</h2>{_table(BREACH_HEADINGS, breaches) if breaches else '<p>None.</p>'}</body></html>"
    )


def chart(series: list[dict[str, Any]], target: float) -> str:
    """The mean over time as a line, a dot where it stands alone, and the target as a dashed one."""
    known = [(float(point["start"]), float(point["mean"])) for point in series if point["mean"] is not None]
    if not known:
        return "<p>Nothing was measured.</p>"
    values = [value for _, value in known] + [target]
    low, high = min(values), max(values)
    first, last = known[0][0], known[-1][0]

    def place(at: float, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * ((at - first) / (last - first) if last > first else 0.5)
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * ((value - low) / (high - low) if high > low else 0.5)
        return f"{x:.1f},{y:.1f}"

    points = " ".join(place(*each) for each in known)
    level = place(first, target).partition(",")[2]
    dots = "".join(_dot(place(*each), f"{each[1]:g}") for each in known)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><line class="target" x1="0" x2="{WIDTH}" y1="{level}" y2="{level}"/>'
        f'<polyline class="line" points="{points}"/>{dots}</svg>'
    )


def _dot(place: str, value: str) -> str:
    x, _, y = place.partition(",")
    return f'<circle cx="{x}" cy="{y}" r="3" fill="#2563eb"><title>{value}</title></circle>'


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
