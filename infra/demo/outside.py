"""The provider simulators seen from outside: switching a fault, and reading what they were called for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.errors import OperationError
from schemas.units import MICROS_PER_S


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached a provider. `at`: microseconds since the epoch."""

    at: int
    provider: str
    status: int
    probe: bool


class Simulators:
    """A client of their control paths. Raises OperationError when they do not answer."""

    def __init__(self, port: int) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5.0)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def switch(self, provider: str, fault: str | None) -> None:
        """Show a fault from now on, or none."""
        await self._ask("POST", f"/control/{provider}", {"fault": fault})

    async def calls(self) -> list[Call]:
        """Every call so far, on this machine's clock."""
        age_s = (await self._ask("GET", "/control"))["age_s"]
        started = time.time_ns() // 1_000 - int(age_s * MICROS_PER_S)
        bill = await self._ask("GET", "/control/bill?requests=1")
        place = {name: index for index, name in enumerate(bill["columns"])}
        return [
            Call(
                started + int(row[place["at_s"]] * MICROS_PER_S), row[place["provider"]], row[place["status"]],
                row[place["probe"]],
            )
            for row in bill["requests"]
        ]  # fmt: skip

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise OperationError(
                f"The provider simulators do not answer ({type(error).__name__}); run the demo again."
            ) from None
        document: dict[str, Any] = answer.json()
        return document


def within(calls: Sequence[Call], provider: str, start: int, end: int) -> tuple[list[Call], list[Call]]:
    """(ordinary calls, probes) that reached the provider between two moments."""
    found = [call for call in calls if call.provider == provider and start < call.at < end]
    return [call for call in found if not call.probe], [call for call in found if call.probe]
