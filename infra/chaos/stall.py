"""`python stall.py FOLDER`: the folder's disk stands still for a second and a half, breathes, stands still, until stdin ends.

Every write waits meanwhile, as on a network disk that hangs. A process of its own for the reason that freeze.py is one:
nobody who waits for the disk could let it go on.
"""

import errno
import fcntl
import os
import select
import sys

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878
STILL_S, BREATH_S, RETRY_S = 1.5, 0.3, 0.01


def _ended(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def _frozen(disk: int) -> bool:
    """Whether it stands still by this call. It does not where somebody else froze it, who will also thaw it."""
    try:
        fcntl.ioctl(disk, FIFREEZE, 0)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def main(folder: str) -> None:
    """Returns when stdin ended, with a disk that goes on."""
    disk = os.open(folder, os.O_RDONLY)
    print("ready", flush=True)
    ended = False
    while not ended:
        if not _frozen(disk):
            ended = _ended(RETRY_S)
            continue
        try:
            ended = _ended(STILL_S)
        finally:
            fcntl.ioctl(disk, FITHAW, 0)
        ended = ended or _ended(BREATH_S)


if __name__ == "__main__":
    main(sys.argv[1])
