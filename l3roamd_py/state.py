# SPDX-License-Identifier: ISC
"""The state file: what the next daemon needs and the kernel does not hold. Small, replaced whole, never trusted.

It lives where a boot leaves nothing (/var/run), as what it says is no longer true then; should it outlive a boot after
all, the boot's number in it says so. It holds the secret of the lease tokens, so only root may read it. It is not
synced to a disk: the page cache outlives every end of ours.
"""

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

FORMAT = 1
BYTES_MAX = 16 << 20
PAUSE_S = 0.1  # a change is written within this time, and all that come with it
PAUSES_MOST = 20  # times what writing took: a large state may be late, but takes no more than 5 % of the time
RETRY_S = 5.0  # when writing failed
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateError(Exception):
    """The file is damaged or cannot be written; one sentence."""


def read_boot_id() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def read_file(path: Path, bytes_max: int, flags: int = 0) -> bytes:
    """Return what a file holds, of one that is larger bytes_max and a byte. OSError, StateError: it is none.

    It allocates what is there, not what may be: a router has little.
    """
    descriptor = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags
    )  # a pipe must not hold us up
    with open(descriptor, "rb", 0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StateError(f"{path} is no file: starting without")
        return file.read(min(found.st_size, bytes_max) + 1) or b""


def load(path: Path, boot_id: str) -> dict | None:
    """Return what was saved, None if there is nothing of this boot. StateError: damaged, start without."""
    try:
        # no link: the file is named in a directory that others may write to
        data = read_file(path, BYTES_MAX, os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror}): starting without") from None
    if len(data) > BYTES_MAX:
        raise StateError(f"{path} has more than {BYTES_MAX} bytes: starting without")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError(f"{path} is damaged: starting without") from None
    if (
        not isinstance(found, dict)
        or found.get("format") != FORMAT
        or not isinstance(found.get("core"), dict)
    ):
        raise StateError(f"{path} is of another kind than ours: starting without")
    return found if found.get("boot") == boot_id else None


def save(path: Path, content: dict, boot_id: str) -> None:
    """Replace the file. Whoever reads it finds the old or the new. Raises StateError."""
    data = json.dumps({"format": FORMAT, "boot": boot_id, **content}, separators=(",", ":")).encode()
    if len(data) > BYTES_MAX:
        raise StateError(f"the state has {len(data)} bytes, expected at most {BYTES_MAX}: not written")
    new = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from None


class StateWriter:
    """Writes the state a moment after it changed."""

    def __init__(self, path: Path, describe: Callable[[], dict], boot_id: str) -> None:
        self._path = path
        self._describe = describe
        self._boot_id = boot_id
        self._seen: object = None
        self._cost_s = 0.0
        self.next_deadline_s: float | None = None
        self.failures = 0

    def note(self, version: object, now_s: float) -> None:
        """The state has this version now; another than before is to be written."""
        if version != self._seen:
            self._seen = version
            if self.next_deadline_s is None:
                self.next_deadline_s = now_s + max(PAUSE_S, PAUSES_MOST * self._cost_s)

    def tick(self, now_s: float) -> None:
        """Write what is due. Raises StateError the first time it fails, then tries again in silence."""
        if self.next_deadline_s is None or now_s < self.next_deadline_s:
            return
        self.next_deadline_s = None
        try:
            self.write()
        except StateError:
            self.next_deadline_s = now_s + RETRY_S
            self.failures += 1
            if self.failures == 1:
                raise
        else:
            self.failures = 0

    def write(self) -> None:
        started_s = time.monotonic()
        save(self._path, self._describe(), self._boot_id)
        self._cost_s = time.monotonic() - started_s
