"""A run as it goes: a live panel on a terminal, else one line every five seconds on stderr."""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.cli.options import say
from infra.demo.traffic import Plan, Tally
from streams.view import StateView

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LIVE_S = 0.2
LINE_S = 5.0
COLOURS = {"closed": "green", "open": "red", "half_open": "yellow"}


@dataclass
class Progress:
    """What is shown. `deployments`: by id, in the order of the catalog; `statuses`: of circuits, as last seen."""

    plan: Plan
    tally: Tally
    view: StateView
    deployments: tuple[str, ...]
    live: bool
    started: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    statuses: dict[str, str] = field(default_factory=dict)
    note_to: "Console | None" = None

    @property
    def elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self.started

    @property
    def rate(self) -> float:
        """Requests a second so far."""
        return self.tally.sent / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def note(self, message: str) -> None:
        """Something happened: above the live panel, or as a line of its own."""
        line = f"{self.elapsed_s:5.1f} s  {message}"
        if self.note_to is not None:
            self.note_to.print(line, highlight=False)
        else:
            say(line)

    def circuits(self) -> dict[str, str]:
        """Status by deployment; one without traffic is closed."""
        return {
            name: self.view.circuits[name].status if name in self.view.circuits else "closed"
            for name in self.deployments
        }

    async def run(self) -> None:
        """Show until cancelled."""
        if not self.live:
            await asyncio.gather(self._lines(), self._watch())
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout)
        with Live(console=console, transient=True, auto_refresh=False, redirect_stderr=False) as panel:
            self.note_to = console
            try:
                while True:
                    self._changes()
                    panel.update(self._panel(), refresh=True)
                    await asyncio.sleep(LIVE_S)
            finally:
                self.note_to = None

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE_S)
            self.note(self._line())

    async def _watch(self) -> None:
        while True:
            self._changes()
            await asyncio.sleep(LIVE_S)

    def _changes(self) -> None:
        """A line for every circuit that changed since the last look."""
        for name, status in self.circuits().items():
            if status != self.statuses.get(name, "closed"):
                self.note(f"circuit of {name}: {status.replace('_', '-')} ({self.view.circuits[name].reason})")
            self.statuses[name] = status

    def _line(self) -> str:
        tally = self.tally
        states = ", ".join(
            f"{name} {status.replace('_', '-')}" for name, status in self.circuits().items() if status != "closed"
        )
        return (
            f"{tally.sent}/{self.plan.requests} sent ({self.rate:.1f}/s), {tally.answered} answered, "
            f"{tally.errors + tally.late} errors, {len(tally.fell_back)} by fallback; "
            f"circuits: {states or 'all closed'}"
        )

    def _panel(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self.tally
        top = Table.grid(padding=(0, 2))
        top.add_row(
            f"{self.elapsed_s:5.1f} s", ProgressBar(total=self.plan.requests, completed=tally.sent, width=30),
            f"{tally.sent}/{self.plan.requests} sent", f"{self.rate:.1f}/s",
        )  # fmt: skip
        counts = Text("         ").append(f"{tally.answered} answered", "green")
        counts.append(f"   {tally.errors + tally.late} errors", "red" if tally.errors + tally.late else "")
        counts.append(f"   {len(tally.fell_back)} by fallback", "yellow" if tally.fell_back else "")
        circuits = Text("         circuits: ")
        for name, status in self.circuits().items():
            circuits.append(f"{name} ").append(status.replace("_", "-"), COLOURS[status]).append("   ")
        return Group(top, counts, circuits)
