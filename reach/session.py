# SPDX-License-Identifier: ISC
"""Over which SSH connection somebody works: `sudo` and `su -` take the variable away, their own parents have it."""

import os
from pathlib import Path

NAME = "SSH_CONNECTION"  # sshd(8): addresses and ports of both ends


def ssh_connection(proc: Path = Path("/proc"), pid: int | None = None) -> str:
    """The variable's value for a process (this one), or for the nearest of its ancestors that has it; or nothing."""
    while pid := parent(proc, pid) if pid else os.getpid():
        if found := variable(proc, pid):
            return found
    return ""


def variable(proc: Path, pid: int) -> str:
    try:
        content = (proc / str(pid) / "environ").read_bytes()
    except OSError:  # it has ended, or is not ours to read
        return ""
    for each in content.split(b"\0"):
        name, _, value = each.partition(b"=")
        if name == NAME.encode():
            return value.decode(errors="replace")
    return ""


def parent(proc: Path, pid: int) -> int:
    """0 when there is none."""
    try:
        return int((proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
