# SPDX-License-Identifier: ISC
"""Carry a plan out on this machine, and take it back: all or nothing, any number of times.

The ledger (END.json in the state folder) names each step before it is done, with what one must know to take it back. So
even a killed `up` leaves nothing that `down` does not find. When a step fails, what this run did is taken back, what it
took back is done again, and the ledger is as before.
"""

import contextlib
import fcntl
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from reach import older
from reach.kernel import Kernel, KernelError
from reach.pending import Pending
from reach.steps import IN_PLACE, Entry, Step, is_new, reconcile

log = logging.getLogger("reach")
RESTORE_TRIES = 5
RESTORE_PAUSE_S = 1.0


class Ledger:
    """What is done at an end; `replace` writes it whole, so it is never half a file."""

    def __init__(self, folder: Path, end: str) -> None:
        self.path = folder / f"{end}.json"

    def read(self) -> list[Entry]:
        try:
            found = json.loads(self.path.read_text())
            return [Entry(older.of_today(Step(**each["step"])), each["note"]) for each in found]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError):
            raise KernelError(
                f"{self.path} is damaged; take the links away by hand, then delete it"
            ) from None

    def write(self, entries: list[Entry]) -> None:
        if not entries:
            self.path.unlink(missing_ok=True)
            return
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps([asdict(entry) for entry in entries]))
        new.replace(self.path)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[IO[str]]:
    """One `reach` at a time changes the machine; the next waits."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


@dataclass(frozen=True, slots=True)
class Count:
    """Of steps: those that were new or another than before, and those that nobody wants any more."""

    new: int
    gone: int

    def __bool__(self) -> bool:
        return self.new + self.gone > 0


def bring_up(folder: Path, end: str, wanted: list[Step], within_s: int) -> Count:
    """`up` by who is alone; when within_s is not 0, taken back after that time unless it is confirmed."""
    ledger, pending = Ledger(folder, end), Pending(folder, end)
    with alone(folder) as lock:
        before = ledger.read()
        refuse_another_end(folder, end)
        pending.disarm()
        if within_s and is_new(before, wanted):
            pending.arm(
                within_s, lambda: alone(folder), lock, lambda: restore_with_retries(folder, ledger, before)
            )
        try:
            with Kernel(folder) as kernel:
                changed = up(kernel, ledger, wanted)
        except (KernelError, KeyboardInterrupt):
            pending.disarm()
            raise
        if changed:
            pending.begin()
    return changed


def refuse_another_end(folder: Path, end: str) -> None:
    """Both would have the one firewall table, and the one relay."""
    for other in sorted(path.stem for path in folder.glob("*.json")):
        if other != end:
            raise KernelError(
                f"this machine is {other} already, and can be one end only: `reach down {other}` first"
            )


def up(kernel: Kernel, ledger: Ledger, wanted: list[Step]) -> Count:
    """Make it so. Raises KernelError, and then nothing has changed."""
    before = ledger.read()
    try:
        return carry_out(kernel, ledger, wanted)
    except (KernelError, KeyboardInterrupt) as reason:
        restore(kernel, ledger, before)
        if isinstance(reason, KeyboardInterrupt):
            log.warning("interrupted; nothing was changed")
        raise
    except OSError as error:  # of the ledger: the disk is full
        with contextlib.suppress(OSError):
            restore(kernel, ledger, before)
        raise KernelError(f"{error.filename or ledger.path}: {error.strerror}") from error


def lost(kernel: Kernel, ledger: Ledger) -> list[str]:
    """What `up` has done and somebody else has undone."""
    return [" ".join(entry.step.name) for entry in ledger.read() if not kernel.has(entry.step)]


def carry_out(kernel: Kernel, ledger: Ledger, wanted: list[Step]) -> Count:
    done = ledger.read()
    change = reconcile(done, wanted)
    new, names = 0, {step.name for step in wanted}
    for entry in change.undo:
        kernel.undo(entry.step, entry.note)
        done = [each for each in done if each.step.name != entry.step.name]
        ledger.write(done)
    order: list[Entry] = []
    for step, note in change.ensure:
        if note is None:
            note = kernel.read(step)
        old = next((each for each in done if each.step.name == step.name), None)
        new += old is None or old.step != step
        order.append(Entry(step, note))
        done = [each for each in done if each.step.name != step.name]
        ledger.write(order + done)
        kernel.do(step, note, old.step if old else None)
    return Count(new, sum(entry.step.name not in names for entry in change.undo))


def restore_with_retries(folder: Path, ledger: Ledger, before: list[Entry]) -> None:
    """Restore when nobody is there to try again."""
    for _ in range(RESTORE_TRIES):
        with Kernel(folder) as kernel:
            restore(kernel, ledger, before)
        if ledger.read() == before:
            return
        time.sleep(RESTORE_PAUSE_S)


def restore(kernel: Kernel, ledger: Ledger, before: list[Entry]) -> None:
    """Back to what a ledger said; nothing stops it half-way, what cannot be done is logged, and stays in the ledger
    when it is something to take back."""
    earlier = {entry.step.name: entry for entry in before}
    left = []
    done = {entry.step.name: entry.step for entry in ledger.read()}
    for entry in reversed(ledger.read()):
        was = earlier.get(entry.step.name)
        if was and (
            was.step == entry.step or entry.step.kind in IN_PLACE
        ):  # the relay's connections live in it
            continue
        if not undo_or_say(kernel, entry) and was is None:
            left.append(entry)
    for entry in before:
        try:
            kernel.do(entry.step, entry.note, done.get(entry.step.name))
        except KernelError as error:
            log.warning("cannot restore %s %s: %s", *entry.step.name, error)
    ledger.write(before + left[::-1])


def undo_or_say(kernel: Kernel, entry: Entry) -> bool:
    try:
        kernel.undo(entry.step, entry.note)
    except KernelError as error:
        log.warning("cannot take back %s %s: %s", *entry.step.name, error)
        return False
    return True


def down(kernel: Kernel, ledger: Ledger) -> int:
    """Take everything back, newest first; what cannot be taken back stays in the ledger, for the next time."""
    entries = ledger.read()
    left = [entry for entry in reversed(entries) if not undo_or_say(kernel, entry)]
    ledger.write(left[::-1])
    return len(entries) - len(left)
