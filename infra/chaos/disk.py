"""A small disk of its own for a folder: an ext4 image behind a loop device, which can be filled and made to stand still.

It is mounted in a mount namespace of this process, so that nothing stays mounted when the process is killed. That takes root
on Linux, loop devices and mkfs.ext4.
"""

import ctypes
import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import OperationError

SIZE_BYTES = 4 << 30
"""Of a sparse file: only what is written takes space."""
CHUNK_BYTES, BLOCK_BYTES = 256 << 20, 4096
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
COMMAND_S = 30


@dataclass(slots=True)
class Disk:
    """Mounted at `folder`; its image lies beside it."""

    folder: Path
    full: bool = False

    @property
    def image(self) -> Path:
        return self.folder.with_suffix(".img")

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        """Leave no block free."""
        self.full = True
        with self._filler.open("wb") as filler:
            size, chunk = 0, CHUNK_BYTES
            while chunk >= BLOCK_BYTES:
                try:
                    os.posix_fallocate(filler.fileno(), size, chunk)
                    size += chunk
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk //= 2

    def relieve(self) -> None:
        """Space again."""
        self._filler.unlink(missing_ok=True)
        self.full = False

    def unmount(self) -> None:
        """Also while something still holds a file of it; the image stays."""
        self.relieve()
        _run("umount", "--lazy", str(self.folder))


def own_mounts() -> None:
    """Give this thread, and what it starts, mounts that nobody else sees. Raises OperationError where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OperationError(f"mounting is not allowed ({os.strerror(ctypes.get_errno())}); run it as root")


def mounted(folder: Path) -> Disk:
    """A new empty disk at a new folder, after `own_mounts`. Raises OperationError where it cannot be made."""
    disk = Disk(folder)
    folder.mkdir(parents=True)
    with disk.image.open("wb") as image:
        image.truncate(SIZE_BYTES)
    # -m 0: root has no reserve, for it is root that fills it.
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(disk.image))
    _run("mount", "-o", "loop", str(disk.image), str(folder))
    return disk


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMMAND_S)
    except FileNotFoundError:
        raise OperationError(f"there is no {command[0]}; install it") from None
    except subprocess.CalledProcessError as error:
        raise OperationError(
            f"{command[0]} failed ({error.stderr.strip()[:200]}); run it where it is allowed"
        ) from None
