# SPDX-License-Identifier: ISC
"""CPU time by the scheduler's runtime: of all that takes part, and of nothing else that runs on the machine.

That is the loads' programs (children that have ended), the translators, and the kernel's threads that receive what no
process of the path was there to receive. What the kernel does for a packet while a process runs is in that process'
time. The kernel's threads work for everybody: on a busy machine that part is too large, for all variants alike.
"""

import contextlib
import resource
from pathlib import Path

PROC = Path("/proc")


def tasks_s(process: Path) -> float:
    """CPU seconds so far of all threads of a process."""
    total_ns = 0
    with contextlib.suppress(OSError):  # it has ended
        for task in (process / "task").glob("[0-9]*/schedstat"):
            total_ns += int(task.read_text().split()[0])
    return total_ns / 1e9


def softirq_threads() -> list[Path]:
    found = []
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().startswith("ksoftirqd/"):
                found.append(process)
    return found


class Counter:
    """Of the children of this process, of these processes and of the kernel's threads."""

    def __init__(self, pids: list[int]) -> None:
        self._counted = [*softirq_threads(), *(PROC / str(pid) for pid in pids)]
        self._begun_s = self._now_s()

    def _now_s(self) -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + sum(map(tasks_s, self._counted))

    def seconds(self) -> float:
        """Since it was made."""
        return self._now_s() - self._begun_s


def resident_kib(pid: int) -> int:
    """What a process has in memory; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
