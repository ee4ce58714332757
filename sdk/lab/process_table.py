# SPDX-License-Identifier: ISC
"""Which processes of this machine belong to a lab, and how they are told: by labels in their environment."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BABELD = REPOSITORY / "build/babeld"  # the mended one's folder, if it could be built; else Debian's is found
# what tells a process of a lab from others, in its environment
LAB, MACHINE, TOPOLOGY, SITE = "XLAT464_LAB", "XLAT464_MACHINE", "XLAT464_TOPOLOGY", "XLAT464_SITE"
DAEMON, MACHINE_INIT = "XLAT464_DAEMON", "XLAT464_INIT"
PACKAGED = (
    "XLAT464_PACKAGED"  # the folder of the packages that a machine runs, instead of this repository's files
)
PYTHON_PACKAGES = f"/usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"  # of packages
# of every lab of a process, and in that of a lab's first one: what rules are made of, instead of the topology's word
RULES = "LAB_RULES"
INTERPRETER = "LAB_INTERPRETER"  # the same of what roaming daemons run on
IPTABLES = "/run/iptables"  # a folder of a machine: the iptables that its PATH has first, if there
INIT_ARGV0 = "464xlat-lab"  # of a lab's first process


def environment(lab: str, machine: str = "", packages: str = "") -> dict[str, str]:
    """What a program on a machine finds: our programs in PATH, and where our Python is.

    On a machine that is made of packages it is theirs, and of this repository there are the interpreters only.
    """
    labels = {LAB: lab, MACHINE: machine, "PS1": f"{machine}# "}
    if packages:
        path = (
            f"{IPTABLES}:/usr/sbin:{REPOSITORY}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/bin:/sbin:/bin"
        )
        own = {"PATH": path, "PYTHONPATH": PYTHON_PACKAGES, "PROCD_TAG": DAEMON, PACKAGED: packages}
        return {**os.environ, **own, **labels}
    python = f"{REPOSITORY}/.venv/bin/python"
    return {
        **os.environ,
        "PATH": f"{IPTABLES}:{REPOSITORY}/bin:{REPOSITORY}/files/464xlat/usr/sbin:{REPOSITORY}/.venv/bin:{BABELD}:"
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        # the same as `-m xlat464`, in half the time: no site packages are read, and no module is looked for
        "XLAT464": f"{python} -S -P {REPOSITORY}/xlat464/__main__.py",
        **labels,
    }


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id and what tells it from a later one of the same id."""

    pid: int
    environ: Mapping[str, str]


def processes() -> Iterator[Process]:
    """Yield the processes that belong to a lab, of this machine's whole process table."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                raw = Path(entry.path, "environ").read_bytes()
                if LAB.encode() in raw:
                    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
                    yield Process(int(entry.name), {key: value for key, _, value in pairs})


def argv0(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    return ""


def inhabitants(space: int) -> Iterator[int]:
    """Yield the processes in the network namespace of that inode."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it is gone
                if os.stat(f"/proc/{entry.name}/ns/net").st_ino == space:
                    yield int(entry.name)


def find_labs() -> dict[str, Process]:
    """Return the first process of every lab, by the lab's name."""
    return {
        process.environ[LAB]: process
        for process in processes()
        if process.environ.get(LAB) and argv0(process.pid) == INIT_ARGV0
    }
