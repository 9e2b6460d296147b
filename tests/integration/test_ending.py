"""A process that is to end does, whatever it waits for: whoever supervises it starts the next one."""

import subprocess
import sys

import pytest
from loop import catalog, settings_for

from schemas.errors import OperationError
from streams.worker import running_worker

WAITS_FOR_EVER = """
import asyncio, os, signal
from infra.processes import run_until_signal

async def main(ending):
    {ends}
    await ending.wait()
    print("ending", flush=True)
    await asyncio.Event().wait()

run_until_signal(main, grace_s=0.2)
"""


@pytest.mark.parametrize("ends", ["ending.set()", "os.kill(os.getpid(), signal.SIGTERM)"], ids=["a failure", "SIGTERM"])
def test_what_does_not_end_in_time_is_ended(ends: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITS_FOR_EVER.format(ends=ends)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "ending\n"), done.stderr


async def test_a_worker_that_cannot_start_says_that_it_ends() -> None:
    settings = settings_for("127.0.0.1:1", "ending.", catalog("http://127.0.0.1:1/{name}", {"a": "primary"}))
    told: list[str] = []
    with pytest.raises(OperationError):
        async with running_worker(settings, ending=lambda: told.append("ending")):
            pass
    assert told == ["ending"]
