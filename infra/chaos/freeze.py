"""`python freeze.py PID`: SIGSTOP a process, and SIGCONT it when stdin ends.

A process of its own, whose stdin is a pipe from whoever froze: a frozen process cannot hear that its parent died, so
something that is not frozen must let it go on.
"""

import contextlib
import os
import signal
import sys


def main(pid: int) -> None:
    """Returns when stdin ended; a process that is gone is none to freeze."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        print("frozen", flush=True)
        sys.stdin.buffer.read()
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main(int(sys.argv[1]))
