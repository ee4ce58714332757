# SPDX-License-Identifier: ISC
"""The state file: what the next daemon needs and the kernel does not hold. Small, replaced whole, never trusted.

It lives where a boot leaves nothing (/var/run), as what it says is no longer true then. Should it outlive a boot after
all, the boot's number in it says so. It holds the secret of the lease tokens, so only root may read it. It is not
synced to a disk: the page cache outlives every end of ours.
"""

import json

from runtime import files, rows
from runtime.loop import BootClock
from runtime.sockets import ENOENT, error_number, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FORMAT = 1
BYTES_MAX = 16 << 20
PAUSE_S = 0.1  # a change is written within this time, and all that come with it
PAUSES_MOST = 20  # times what writing took: a large state may be late, but takes no more than 5 % of the time
RETRY_S = 5.0  # when writing failed
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class StateError(Exception):
    """The file is damaged or cannot be written; one sentence."""


def read_boot_id() -> str:
    try:
        with open(BOOT_ID) as file:
            return file.read().strip()
    except OSError:
        return ""


def load(path: str, boot_id: str) -> dict | None:
    """Return what was saved, None if there is nothing of this boot. StateError: damaged, start without."""
    try:
        return _load(path, boot_id)
    except MemoryError:  # MicroPython's heap does not grow; a daemon on CPython may have left more
        raise StateError(f"{path} is too large for the memory that there is: starting without") from None


def _load(path: str, boot_id: str) -> dict | None:
    try:
        data = files.read(path, BYTES_MAX)
    except OSError as error:
        if error_number(error) == ENOENT:
            return None
        why = "is no file" if files.is_no_file(error) else f"cannot be read ({error_text(error)})"
        raise StateError(f"{path} {why}: starting without") from None
    if len(data) > BYTES_MAX:
        raise StateError(f"{path} has more than {BYTES_MAX} bytes: starting without")
    try:
        if data[-1:] != b"}":
            raise ValueError  # MicroPython before 1.26 takes the beginning of a text for a whole one
        found = json.loads(data)
    except (ValueError, RuntimeError):  # the latter: nested too deeply
        raise StateError(f"{path} is damaged: starting without") from None
    if (
        not isinstance(found, dict)
        or found.get("format") != FORMAT
        or not isinstance(found.get("core"), dict)
    ):
        raise StateError(f"{path} is of another kind than ours: starting without")
    return found if found.get("boot") == boot_id else None


def save(path: str, content: dict, boot_id: str) -> None:
    """Replace the file. Whoever reads it finds the old or the new. Raises StateError."""
    whole = {"format": FORMAT, "boot": boot_id}
    whole.update(content)
    try:
        files.replace(path, _bounded(rows.pieces(whole)))
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error_text(error)}") from None


def _bounded(pieces: "Iterable[bytes]") -> "Iterator[bytes]":
    left = BYTES_MAX
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise StateError(f"the state has more bytes than fit, expected at most {BYTES_MAX}: not written")
        yield piece


class StateWriter:
    """Writes the state a moment after it changed."""

    def __init__(self, path: str, describe: "Callable[[], dict]", boot_id: str) -> None:
        self._path = path
        self._describe = describe
        self._boot_id = boot_id
        self.seen: object = None
        self._cost_s = 0.0
        self._clock = BootClock()
        self.next_deadline_s: float | None = None
        self.failures = 0

    def note(self, version: object, now_s: float) -> None:
        """The state has this version now; another than before is to be written."""
        if version != self.seen:
            self.seen = version
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
        started_s = self._clock.now_s()
        save(self._path, self._describe(), self._boot_id)
        self._cost_s = self._clock.now_s() - started_s
