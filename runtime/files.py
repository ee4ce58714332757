# SPDX-License-Identifier: ISC
"""Files: read with a bound, and replaced whole. Raises OSError."""

import os

from runtime import IS_MICRO
from runtime.sockets import S_IFMT, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EINVAL, NO_FILE = 22, "no file"
NEW: dict[
    str, str
] = {}  # path -> what is beside it before it takes its place; MicroPython takes long to make a text


def read(path: str, most: int) -> bytes:
    """Return what a file holds, of one that is larger `most` bytes and one. OSError EINVAL: it is no file.

    It allocates what is there, not what may be: a router has little.
    """
    if IS_MICRO:
        found = os.stat(path)
        if found[0] & S_IFMT != S_IFREG:
            raise OSError(EINVAL, NO_FILE)  # before it is opened: a pipe would hold us up
        file = open(path, "rb")
    else:
        # a pipe must not hold us up; no link: the file may be named in a directory that others write to
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        file = open(os.open(path, flags), "rb", 0)  # type: ignore[assignment]
        found = os.fstat(file.fileno())
    with file:
        if found[0] & S_IFMT != S_IFREG:
            raise OSError(EINVAL, NO_FILE)
        return file.read(min(found[6], most) + 1) or b""


def is_no_file(error: OSError) -> bool:
    """Return whether read() refused what is there: a pipe, a folder, a link."""
    return bool(error.args[-1] == NO_FILE)


def replace(path: str, pieces: "Iterable[bytes]", is_synced: bool = False) -> None:
    """Have a file hold these bytes, for its owner alone. Whoever reads it finds the old ones or the new ones.

    What the pieces raise leaves the old ones. is_synced: also after a crash of the machine; the page cache outlives
    every end of ours anyway. What a crash leaves beside it has always the same name, and the next call takes it away.
    On MicroPython the umask decides who reads.
    """
    new = NEW.get(path)
    if new is None:
        folder, slash, name = path.rpartition("/")
        new = NEW[path] = folder + slash + "." + name + ".new"
    remove(new)
    if IS_MICRO:
        file = open(new, "wb")
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = open(os.open(new, flags, 0o600), "wb")
    try:
        with file:
            for piece in pieces:
                file.write(piece)
            if is_synced and not IS_MICRO:
                file.flush()
                os.fsync(file.fileno())
        os.rename(new, path)
    except Exception:
        remove(new)
        raise


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.args[0] != 2:  # ENOENT
            raise
