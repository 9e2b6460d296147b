"""`turnout chaos` as a user runs it: a short seeded run that finds nothing broken and leaves nothing behind."""

import asyncio
import json
import os
import sys
from pathlib import Path

from processes import children, gone

SEED = 1051
COMMAND = (sys.executable, "-m", "infra.cli.main", "chaos")


async def chaos(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Started with its temporary folder inside `folder`, which so marks all its children."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )


async def test_a_short_run_breaks_nothing(tmp_path: Path) -> None:
    report, work = tmp_path / "report.json", tmp_path / "work"
    work.mkdir()
    arguments = ["--seed", str(SEED), "--minutes", "0.4", "--rate", "20", "--deadline-s", "10", "--json", str(report)]
    running = await chaos(work, *arguments)
    async with asyncio.timeout(400):
        out, err = await running.communicate()
    assert running.returncode == 0, err.decode()[-3000:] + out.decode()[-3000:]
    found = json.loads(report.read_bytes())
    assert found["ok"]
    assert found["faults"] == {"kill-worker": 1, "set-budget": 1, "kill-sink": 1}
    assert found["requests"] - found["repeated"] == found["answered"] > 400
    assert (found["lost"], found["answered_twice"], found["calls_bought_twice"], found["sql_differences"]) == (
        0,
        0,
        0,
        0,
    )
    money = found["money_nano_usd"]
    assert money["certain"] == money["bill_certain"] > 0
    assert found["owners"] > 16
    assert children(work) == []


async def test_nothing_frozen_is_left_when_it_is_killed(tmp_path: Path) -> None:
    running = await chaos(tmp_path, "--plan", "freeze-worker", "--requests", "200", "--rate", "20")
    assert running.stderr is not None
    async with asyncio.timeout(180):
        while b"SIGSTOP" not in await running.stderr.readline():
            assert running.returncode is None
    running.kill()
    await running.communicate()
    await gone(tmp_path)
