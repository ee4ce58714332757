# SPDX-License-Identifier: ISC
"""Programs that stay: the relay, and what others wrote. Each has a pid file, a configuration and a log in a folder.

A supervisor starts it again when it dies. A process is ours only when that of its number was started when the pid file
says: numbers come again.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from reach import supervisor

BUILT = Path(__file__).resolve().parent.parent / "build" / "bin"
RELOADS = {"relay": signal.SIGHUP, "radvd": signal.SIGHUP}
READY = {"relay": "reach-relay: ready"}  # what it says when it is; an address may be "already in use"
WAIT_S = 10.0
FAILS_WITHIN_S = 0.5  # a program that does not say when it is ready


class ProcessError(RuntimeError):
    """A program does not start or does not take its configuration; one sentence."""


def started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]  # one that nobody has collected yet is gone


def alive(path: Path) -> int | None:
    """The number in a pid file, when that process is still the one."""
    try:
        pid, since = path.read_text().split()
        return int(pid) if started(int(pid)) == since else None
    except (OSError, ValueError):
        return None


def running(folder: Path, name: str) -> int | None:
    """The number of our process of that name, or None."""
    return alive(folder / f"{name}.pid")


def ensure(folder: Path, name: str, command: list[str], config: str) -> None:
    """Let it run with this configuration; one that runs is told to read it again where it can. Raises ProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.conf"
    pid, old = running(folder, name), path.read_text() if path.exists() else None
    if pid is not None and old == config:
        return
    if pid is not None and name not in RELOADS:
        end(folder, name)
        pid = None
    if pid is None:  # its supervisor may be about to start it again
        end(folder, name)
        path.write_text(config)
        start(folder, name, [word.replace("{config}", str(path)) for word in command])
        return
    path.write_text(config)
    before = said(folder, name)
    os.kill(pid, RELOADS[name])
    if name == "relay":
        wait(lambda: "reloaded" in said(folder, name)[len(before) :])
        new = said(folder, name)[len(before) :]
        if "not reloaded" in new or "reloaded" not in new:
            path.write_text(old or "")
            raise ProcessError(
                last_words(new.splitlines()[:1]) or f"{name} did not read its configuration again"
            )


def start(folder: Path, name: str, command: list[str]) -> None:
    if name == "relay":
        command = [command[0], "--status", str(folder / "relay.sock"), *command[1:]]
    program = shutil.which(command[0]) or shutil.which(BUILT / command[0])
    if not program:
        raise ProcessError(f"the program {command[0]} is not installed")
    with (folder / f"{name}.log").open("w") as log:
        made = subprocess.Popen(
            supervisor.command(folder, name, [program, *command[1:]]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if not has_started(made, folder, name):
        end(folder, name)
        lines = said(folder, name).splitlines()
        raise ProcessError(last_words(lines) or f"{name} ended at once, with {made.poll()}")
    (folder / f"{name}.supervisor").write_text(f"{made.pid} {started(made.pid)}\n")


def has_started(made: subprocess.Popen, folder: Path, name: str) -> bool:
    ready = READY.get(name)
    if ready is None:
        return not wait(lambda: made.poll() is not None, FAILS_WITHIN_S)
    # its supervisor writes its number down when it has started, which may be after it has said that it is ready
    wait(
        lambda: made.poll() is not None or (ready in said(folder, name) and running(folder, name) is not None)
    )
    return made.poll() is None and ready in said(folder, name)


def last_words(lines: list[str]) -> str:
    return lines[-1] if lines else ""


def said(folder: Path, name: str) -> str:
    try:
        return (folder / f"{name}.log").read_text(errors="replace")
    except OSError:
        return ""


def end(folder: Path, name: str) -> None:
    """End a program and its supervisor, or what there is of them.

    One that a version before has started has its number in NAME.keeper.
    """
    files = [folder / f"{name}{suffix}" for suffix in (".supervisor", ".keeper", ".pid")]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in filter(None, map(alive, files)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), number)
        if wait(lambda: not any(map(alive, files))):
            break
    for suffix in (".supervisor", ".keeper", ".pid", ".conf", ".sock"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)


def wait(is_so, within_s: float = WAIT_S) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
