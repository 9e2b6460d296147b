"""`turnout demo` as a user runs it: what it finds, and that it leaves nothing behind."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import children, gone

COMMAND = (Path(sys.executable).with_name("turnout"), "demo", "--requests", "500", "--rate", "25")
OTHERS = ("streams.py", "agents.py", "schemas.py", "infra.py")
"""Modules of a project in whose folder it is run."""
EVENTS = {"llm.decisions", "llm.attempts", "llm.costs", "llm.transitions", "llm.control"}


async def demo(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Started with its temporary folder inside `folder`, which so marks all its children, from a project beside it."""
    project = folder.with_name(f"{folder.name}-project")
    project.mkdir()
    for name in OTHERS:
        (project / name).write_text("raise ImportError('not the module that was meant')")
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=project,
    )


async def test_an_outage_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    running = await demo(tmp_path, "--json")
    async with asyncio.timeout(240):
        out, err = await running.communicate()
    assert running.returncode == 0, err.decode()[-2000:] + out.decode()[-3000:]
    found: dict[str, Any] = json.loads(out)
    summary, integrity = found["summary"], found["integrity"]
    assert (summary["requests"], summary["answered"] + summary["errors"], summary["late"]) == (500, 500, 0)
    assert summary["fallbacks"] > 0
    assert summary["cost_usd"] > 0
    assert (integrity["lost"], integrity["answered_twice"], integrity["drift_rows"]) == (0, 0, 0)
    assert integrity["counts_equal"]
    assert integrity["completed_in_sql"] == 500
    assert {row["topic"]: row["in_sql"] for row in integrity["topics"]}.keys() == EVENTS
    assert all(row["in_topic"] == row["in_sql"] > 0 for row in integrity["topics"])
    of_alpha = [row["circuit"] for row in found["circuits"] if row["deployment"] == "alpha"]
    assert of_alpha[0] == "open"
    assert of_alpha[-2:] == ["half-open", "closed"]
    assert any("Attempt 1 on alpha failed" in line for line in found["decision"]["words"])
    assert all(found["sql"][name] for name in ("deployments", "provider_health", "tenant_costs", "circuit_transitions"))
    assert children(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_everything(tmp_path: Path, number: int, status: int) -> None:
    running = await demo(tmp_path)
    assert running.stderr is not None
    async with asyncio.timeout(120):
        while not (await running.stderr.readline()).startswith(b"Sending"):
            assert running.returncode is None
    assert children(tmp_path)
    running.send_signal(number)
    async with asyncio.timeout(60):
        out, err = await running.communicate()
    assert (running.returncode, out) == (status, b"")
    assert err.decode().endswith("Stopped.\n")
    assert children(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


async def test_children_end_with_a_killed_demo(tmp_path: Path) -> None:
    running = await demo(tmp_path)
    assert running.stderr is not None
    async with asyncio.timeout(120):
        while not (await running.stderr.readline()).startswith(b"Sending"):
            assert running.returncode is None
    running.kill()
    await running.communicate()
    await gone(tmp_path)
