"""What a process lets its libraries say, and whom it lets go first."""

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.processes import Sparing


def test_the_same_line_is_said_once_in_a_while() -> None:
    now = 0.0
    sparing = Sparing(10.0, lambda: now)

    def passes(text: str, name: str = "aiokafka") -> bool:
        return sparing.filter(logging.LogRecord(name, logging.ERROR, __file__, 1, "%s", (text,), None))

    assert passes("no broker")
    assert not passes("no broker")
    assert passes("another line")
    assert passes("no broker", name="aiokafka.conn")
    now = 9.9
    assert not passes("no broker")
    now = 10.0
    assert passes("no broker")
    assert not passes("no broker")


def session_nice(text: str) -> str:
    """The nice of a session, as /proc/PID/autogroup says it; empty where the kernel does not keep one for it."""
    return text.split()[-1] if text.strip() else ""


@pytest.mark.parametrize("leads", [True, False])
def test_a_process_lets_others_go_first(leads: bool) -> None:
    # A session that began outside of a container has no autogroup inside, and some kernels have none at all.
    program = (
        "from infra.processes import yield_processor; import os, pathlib; before = os.nice(0); yield_processor(3)\n"
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "print(os.nice(0) - before, os.nice(0), group.read_text() if group.exists() else '')"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=leads
    )
    steps, nice, *group = told.stdout.split()
    assert int(steps) == 3
    lowered = session_nice(" ".join(group))
    ours = Path("/proc/self/autogroup")
    if leads:
        assert lowered in ("", nice)
    else:
        # A session that it does not lead is not its own to lower.
        assert lowered == (session_nice(ours.read_text()) if ours.exists() else "")
    assert os.nice(0) == int(nice) - 3


@pytest.mark.parametrize("returns", [True, False])
def test_large_blocks_do_not_lie_between_what_stays(returns: bool) -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("this C library is not a glibc from 2.33 on")
    program = (
        "import ctypes; from infra.processes import return_large_blocks\n"
        f"if {returns}: return_large_blocks()\n"
        "class Info(ctypes.Structure): _fields_ = [(name, ctypes.c_size_t) for name in 'abcdmfghij']\n"
        "mallinfo2 = ctypes.CDLL(None).mallinfo2; mallinfo2.restype = Info\n"
        "before = mallinfo2().m; freed = bytearray(8_000_000); freed = None; kept = bytearray(4_000_000)\n"
        "print(mallinfo2().m - before >= len(kept))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # As glibc comes, a block of 8 MB that was freed lets one of 4 MB into the heap.
    assert told.stdout.strip() == str(returns)
