"""Begin a coroutine at once, in the task that calls, and await only what is left of it (as eager tasks of Python 3.12 do)."""

from collections.abc import Coroutine, Generator
from typing import Any


class Begun:
    """A coroutine that ran to its first suspension. `done`: there was none. An error it raised there comes from here."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._waits_for: Any = None
        self.done = False
        try:
            self._waits_for = work.send(None)
        except StopIteration:
            self.done = True

    async def rest(self) -> None:
        """Run it to its end; once, and only if it is not done."""
        await _Rest(self._work, self._waits_for)


class _Rest:
    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            raised: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waits_for
            except BaseException as error:
                raised = error
            try:
                waits_for = self._work.send(sent) if raised is None else self._work.throw(raised)
            except StopIteration:
                return
