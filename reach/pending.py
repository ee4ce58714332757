# SPDX-License-Identifier: ISC
"""An `up` that is taken back unless it is confirmed.

A process of its own waits, outlives the terminal, and is there before the first change. So an `up` that loses its
connection half-way is taken back as well. It has a note in the state folder, END.armed while `up` works and
END.unconfirmed from then on. The holder of the lock of `alone` decides. When the time is over and a note still bears
the number of the process that waited, it takes back. When the note is gone, it was confirmed or something newer waits.
What it has to say is in END.log.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from reach import process

Alone = Callable[[], AbstractContextManager[IO[str]]]


class Pending:
    def __init__(self, folder: Path, end: str) -> None:
        self.path = folder / f"{end}.unconfirmed"
        self.armed = folder / f"{end}.armed"
        self.log = folder / f"{end}.log"

    def arm(self, within_s: int, alone: Alone, lock: IO[str], restore: Callable[[], None]) -> None:
        """Let a process wait; returns once it does. To be called by who is alone, and holds the lock."""
        until_s = time.monotonic() + within_s
        if os.fork():
            os.wait()
            return
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGHUP])
        child = os.fork()
        if child:
            note = {"pid": child, "since": process.started(child), "until_s": until_s}
            self.armed.write_text(json.dumps(note))
            os._exit(0)
        try:
            let_go(lock, self.log)
            if signal.sigtimedwait([signal.SIGUSR1], within_s) is None:
                with alone():
                    if self.is_mine():
                        print(f"reach: nobody confirmed within {within_s} s", file=sys.stderr)
                        restore()
        except BaseException:  # there is nobody to catch it
            traceback.print_exc()
        finally:
            os._exit(0)

    def is_mine(self) -> bool:
        """Whether this process is still the one that a note speaks of; removes the note."""
        for path in (self.armed, self.path):
            if read(path).get("pid") == os.getpid():
                path.unlink()
                return True
        return False

    def begin(self) -> None:
        """What was armed, if anything, is what waits from now on; what waited before is settled."""
        end(self.path)
        if self.armed.exists():
            self.armed.replace(self.path)

    def disarm(self) -> None:
        end(self.armed)

    def confirm(self) -> bool:
        """True when there was something to confirm."""
        waited = self.left_s() is not None
        end(self.armed)  # of an `up` that was killed
        end(self.path)
        return waited

    def left_s(self) -> int | None:
        """Seconds until it is taken back; None when nothing waits."""
        notes = [note for note in (read(self.armed), read(self.path)) if is_alive(note)]
        return max(0, round(min(note["until_s"] for note in notes) - time.monotonic())) if notes else None


def let_go(lock: IO[str], log: Path) -> None:
    """Of what keeps others waiting: the terminal, and the lock of who is alone."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(said, standard)
    lock.close()


def read(path: Path) -> dict[str, Any]:
    """A note; empty when there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.keys() >= {"pid", "since", "until_s"} else {}


def is_alive(note: dict[str, Any]) -> bool:
    return bool(note) and process.started(note["pid"]) == note["since"]


def end(path: Path) -> None:
    """Remove a note, and let the process that it speaks of go."""
    note = read(path)
    path.unlink(missing_ok=True)
    if is_alive(note):
        os.kill(note["pid"], signal.SIGUSR1)
