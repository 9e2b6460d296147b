"""Run a command that is told to end when its parent dies: `python tether.py PARENT_PID COMMAND...`.

The kernel's parent-death signal survives exec, so this process becomes the command and keeps its pid.
It is a program of its own because code between fork and exec (preexec_fn) may deadlock in a threaded parent.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tie_to_parent(parent: int) -> None:
    """Ask for SIGTERM at the parent's death; exit at once if it is dead already. Linux only, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit(1)


def main(arguments: list[str]) -> None:
    """Replace this process by the command; exit code 127 if it cannot be run."""
    parent, *command = arguments
    tie_to_parent(int(parent))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"ERROR cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def runs_with(pid: int, argument: Path) -> bool:
    """Does a process with this id live and have this argument? A zombie has no command line, so it does not."""
    try:
        return os.fsencode(argument) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """The process's parent, or 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main(sys.argv[1:])
