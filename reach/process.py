# SPDX-License-Identifier: ISC
"""Programs that stay: the relay, and what others wrote. Each has a pid file, a configuration and a log in a folder.

A program is ours only when the process of that number was started when the pid file says: numbers come again.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

BUILT = Path(__file__).resolve().parent.parent / "build" / "bin"
RELOADS = {"relay": signal.SIGHUP, "radvd": signal.SIGHUP}
READY = {"relay": "reach-relay: ready"}  # what it says when it is; an address may be "already in use"
WAIT_S = 10.0


class ProcessError(RuntimeError):
    """A program does not start or does not take its configuration; one sentence."""


def started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]  # one that nobody has collected yet is gone


def running(folder: Path, name: str) -> int | None:
    """The number of our process of that name, or None."""
    try:
        pid, since = (folder / f"{name}.pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if started(int(pid)) == since else None


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
    path.write_text(config)
    if pid is None:
        start(folder, name, [word.replace("{config}", str(path)) for word in command])
        return
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
    program = shutil.which(command[0]) or str(BUILT / command[0])
    with (folder / f"{name}.log").open("w") as log:
        try:
            made = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ProcessError(f"the program {command[0]} is not installed") from None
    (folder / f"{name}.pid").write_text(f"{made.pid} {started(made.pid)}")
    wait(
        lambda: made.poll() is not None or READY.get(name, "") in said(folder, name),
        WAIT_S if name in READY else 0.3,
    )
    if made.poll() is not None or READY.get(name, "") not in said(folder, name):
        end(folder, name)
        lines = said(folder, name).splitlines()
        raise ProcessError(last_words(lines) or f"{name} ended at once, with {made.poll()}")


def last_words(lines: list[str]) -> str:
    return lines[-1] if lines else ""


def said(folder: Path, name: str) -> str:
    try:
        return (folder / f"{name}.log").read_text(errors="replace")
    except OSError:
        return ""


def end(folder: Path, name: str) -> None:
    pid = running(folder, name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        if not wait(lambda: running(folder, name) is None):
            os.kill(pid, signal.SIGKILL)
    for suffix in (".pid", ".conf", ".sock"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)


def wait(is_so, within_s: float = WAIT_S) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
