# SPDX-License-Identifier: ISC
"""Machines of namespaces: each a process of its own, all of a lab in one PID namespace.

A lab is its first process. When that ends, the kernel ends every other process of the lab and removes their namespaces
and devices. Nothing is noted outside: which labs and machines there are is read from the process table, so that nothing
can be out of date.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runtime import sockets
from sdk.lab.process_table import (
    DAEMON,
    INIT_ARGV0,
    LAB,
    MACHINE,
    MACHINE_INIT,
    PACKAGED,
    REPOSITORY,
    SITE,
    TOPOLOGY,
    environment,
    find_labs,
    inhabitants,
    processes,
)
from sdk.timeouts import TIMEOUT_SCALE

SERVICES = {"gluon-464xlat-babel": "babeld", "l3roamd-py": "l3roamd"}  # what a lab calls packages' services
START_S = 30 * TIMEOUT_SCALE  # a first process that has not said so by then will not start
ASK_S = 5 * TIMEOUT_SCALE  # for a daemon to answer
END_S = 60 * TIMEOUT_SCALE  # for the kernel to end a lab's processes
DAEMON_S = 60.0 * TIMEOUT_SCALE  # for a daemon's socket to appear
# it stays as the parent of the lab's first process, which ends with it
UNSHARE = ("unshare", "--pid", "--mount", "--propagation", "private", "--fork", "--kill-child=SIGKILL")

# A machine's first process. A new network namespace needs its own /sys. /run is empty as after a boot. /proc must be
# the lab's, or its process numbers would be wrong. $2 are lines that mount a root.
BOOT_SCRIPT = """
read -r pid _ </proc/self/stat
hostname "$1"
eval "set -e; $2
set +e"
mount -t tmpfs tmpfs /run && mkdir /run/log
mount -t sysfs sysfs /sys
printf 'nameserver 198.51.100.53\\n' >/run/resolv.conf
if [ -e /etc/resolv.conf ]; then mount --bind /run/resolv.conf "$(readlink -f /etc/resolv.conf)"; fi
mount -t proc proc /proc
ip link set lo up
echo "$pid"
exec >/dev/null </dev/null 2>&1
exec sleep infinity
"""


class LabError(RuntimeError):
    """The lab could not do what it was asked to: one sentence for people."""


class CommandError(LabError):
    """A command on a machine failed; the sentence ends with what it said."""


def pid_that_it_says(init: subprocess.Popen) -> int:
    """The number of a lab's first process, which it says when it is there. Raises LabError if it is not."""
    assert init.stdout
    assert init.stderr
    with init.stdout, init.stderr:
        ready, _, _ = select.select([init.stdout], [], [], START_S)
        word = init.stdout.readline() if ready else b""
        if not word.strip().isdigit():
            init.kill()  # or there is no end to what it says
            reason = init.stderr.read().decode(errors="replace").strip().splitlines()
            raise LabError(
                f"no namespaces for a lab: {reason[-1] if reason else 'the first process did not start'}"
            )
    return int(word)


class Machines:
    """The machines of one lab: start, enter, end. It does not know what they are for."""

    def __init__(self, name: str, init_pid: int, pids: dict[str, int]):
        self.name, self.init_pid, self.pids = name, init_pid, pids
        self.packaged: dict[
            str, str
        ] = {}  # machines with a root of their own, and the folder of its packages

    @classmethod
    def start(cls, name: str, *, persistent: bool, topology: str = "", site: str = "") -> "Machines":
        """Start a lab's first process. Unless persistent, it ends with this one, however that ends.

        Raises LabError if a lab of that name runs, or the kernel does not let us.
        """
        if name in find_labs():
            option = "" if name == "lab" else f" --name {name}"
            raise LabError(f"a lab of the name {name!r} is up already: `lab down{option}` ends it")
        init = subprocess.Popen(
            [*UNSHARE, "bash", "-c", f'exec -a {INIT_ARGV0} "$0" -c "$1"', sys.executable, INIT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(name), TOPOLOGY: topology, SITE: site},
            start_new_session=True,
            preexec_fn=None if persistent else die_with_parent(os.getpid()),
        )
        try:
            pid = pid_that_it_says(init)
        except BaseException:  # Ctrl-C: nobody else would end one that is to persist
            init.kill()
            init.wait(END_S)
            raise
        machines = cls(name, pid, {})
        machines._unshare = init
        return machines

    _unshare: subprocess.Popen | None = None

    @classmethod
    def find(cls, name: str) -> "Machines":
        """Take over the lab of that name, started by another process. Raises LabError if there is none."""
        init = find_labs().get(name)
        if init is None:
            raise LabError(f"no lab of the name {name!r} is up: `lab list` shows those that are")
        space = os.stat(f"/proc/{init.pid}/ns/pid").st_ino
        pids: dict[str, int] = {}
        packaged = {}
        for process in processes():
            machine = process.environ.get(MACHINE)
            if process.environ[LAB] == name and machine and MACHINE_INIT in process.environ:
                # not its parent, which waits outside with the same environment
                with contextlib.suppress(OSError):
                    if os.stat(f"/proc/{process.pid}/ns/pid").st_ino == space:
                        pids.setdefault(machine, process.pid)
                        if folder := process.environ.get(PACKAGED):
                            packaged[machine] = folder
        machines = cls(name, init.pid, pids)
        machines.packaged = packaged
        return machines

    def environment(self, machine: str) -> dict[str, str]:
        return environment(self.name, machine, self.packaged.get(machine, ""))

    def saved_files(self) -> tuple[Path, Path]:
        """Return where a lab's topology and site are kept: in its first process's own /run, which ends with it."""
        run = Path(f"/proc/{self.init_pid}/root/run")
        return run / "topology.toml", run / "site.conf"

    def end(self) -> None:
        """End every process of the lab, and with them its namespaces; return when they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init_pid, signal.SIGKILL)
        if self._unshare:
            self._unshare.wait(END_S)
        deadline = time.monotonic() + END_S
        while os.path.exists(f"/proc/{self.init_pid}") and time.monotonic() < deadline:
            time.sleep(0.01)

    # One machine

    def boot(self, machine: str, root: str = "", packages: str = "") -> None:
        """Make a machine with no device but lo; root: lines of sh that mount one of its own, made of packages."""
        if root:
            self.packaged[machine] = packages
        enter = ["nsenter", f"--target={self.init_pid}", "--pid", "--mount"]
        spaces = ["unshare", "--net", "--mount", "--uts", "--propagation", "private"]
        init = subprocess.Popen(
            [*enter, "--", *spaces, "sh", "-c", BOOT_SCRIPT, "sh", machine, root],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment(machine), MACHINE_INIT: "1"},
            start_new_session=True,
        )
        assert init.stdout
        assert init.stderr
        word = init.stdout.readline()
        if not word.strip().isdigit():
            raise LabError(f"{machine} did not boot: {init.stderr.read().decode(errors='replace').strip()}")
        init.stdout.close()
        init.stderr.close()
        self.pids[machine] = int(word)
        STARTED.append(init)

    def halt(self, machine: str, and_init: bool) -> None:
        """SIGKILL all processes of a machine, its first one (and thus its devices) only if asked."""
        space = os.stat(f"/proc/{self.pids[machine]}/ns/net").st_ino
        deadline = time.monotonic() + END_S
        while doomed := [pid for pid in inhabitants(space) if and_init or pid != self.pids[machine]]:
            if time.monotonic() > deadline:
                raise LabError(f"{machine}: process {doomed[0]} does not end")
            for pid in doomed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        if and_init:
            del self.pids[machine]

    def into(self, machine: str, argv: Sequence[str], *, bound: bool = True, folder: str = "") -> list[str]:
        """Return the command that runs argv on a machine; bound: it ends with the thread that started it.

        It runs in the folder; by default in this repository, and where packages run in the root, as services do.
        """
        if machine not in self.pids:
            known = ", ".join(sorted(self.pids))
            raise LabError(f"there is no machine {machine!r} in the lab {self.name!r}, known are {known}")
        enter = ["nsenter", f"--target={self.pids[machine]}", "--net", "--mount", "--uts", "--pid"]
        # nsenter waits outside: it has to die with its parent, and the command with nsenter
        die = ["setpriv", "--pdeathsig", "KILL", "--"] if bound else []
        folder = folder or ("/" if machine in self.packaged else str(REPOSITORY))
        return [*die, *enter, f"--wdns={folder}", "--", *die, *argv]

    def exec(
        self,
        machine: str,
        argv: Sequence[str],
        *,
        check: bool = True,
        stdin: str | None = None,
        timeout_s: float = 60 * TIMEOUT_SCALE,
    ) -> subprocess.CompletedProcess:
        """Run a command on a machine and return its text output. Raises CommandError if it fails and check is set."""
        command = self.into(machine, argv)
        try:
            done = subprocess.run(
                command,
                input=stdin or "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                env=self.environment(machine),
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"{machine}: `{' '.join(argv)}` did not end within {timeout_s:g} s") from None
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
            raise CommandError(f"{machine}: `{' '.join(argv)}` failed ({done.returncode}): {said[-1]}")
        return done

    def script(self, machine: str, lines: Sequence[str]) -> None:
        """Run lines of sh on a machine, as one; the first that fails ends it."""
        self.exec(machine, ["sh", "-e"], stdin="\n".join(lines) + "\n")

    def ask(self, machine: str, path: str, command: str) -> dict:
        """Send a line to a Unix socket of a machine and return the JSON that comes back; {} if none does.

        No program is started for it: a machine's files are reached through its first process. The path leads
        over no symlink, which would be this machine's.
        """
        try:
            said = sockets.ask(f"/proc/{self.pids[machine]}/root{path}", command.encode(), ASK_S)
            answer = json.loads(said)
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def read(self, machine: str, path: str) -> str:
        """Return the text of a machine's file, "" while it is not there; as in ask, the path leads over no symlink."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pids[machine]}/root{path}").read_text(errors="replace")
        return ""

    def popen(self, machine: str, argv: Sequence[str], **options) -> subprocess.Popen:
        """Start a command on a machine that ends with this process."""
        return subprocess.Popen(self.into(machine, argv), env=self.environment(machine), **options)

    def daemon(self, machine: str, name: str, argv: Sequence[str], **variables: str) -> None:
        """Start a command that goes on as long as the machine; what it says goes to its /run/log/NAME.log."""
        started = subprocess.Popen(
            self.into(machine, ["sh", "-c", 'exec "$@" >>"/run/log/$0.log" 2>&1', name, *argv], bound=False),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**self.environment(machine), DAEMON: name, **variables},
            start_new_session=True,
        )
        STARTED.append(started)

    def daemons(self) -> dict[str, dict[str, list[int]]]:
        """Return what daemon() or an init script started: by machine, then by name, the ids of its processes."""
        found: dict[str, dict[str, list[int]]] = {machine: {} for machine in self.pids}
        space = os.stat(f"/proc/{self.init_pid}/ns/pid").st_ino
        for process in processes():
            machine, daemon = process.environ.get(MACHINE), process.environ.get(DAEMON)
            if process.environ.get(LAB) == self.name and daemon and machine in found:
                with contextlib.suppress(OSError):  # it is gone
                    # not its parent, which waits outside with the same environment
                    if os.stat(f"/proc/{process.pid}/ns/pid").st_ino == space:
                        found[machine].setdefault(SERVICES.get(daemon, daemon), []).append(process.pid)
        return found

    def stop(self, machine: str, name: str, number: int = signal.SIGKILL) -> None:
        """End a program that daemon() or an init script started. Return when it has ended and its ports are free."""
        if machine in self.packaged:
            services = [service for service, daemon in SERVICES.items() if daemon == name] or [name]
            self.exec(machine, ["sh", "-c", f"rm -f /run/procd/{services[0]}/*/respawn"])
        deadline = time.monotonic() + END_S
        for pid in self.daemons()[machine].get(name, []):
            with contextlib.suppress(ProcessLookupError), contextlib.ExitStack() as stack:
                process = os.pidfd_open(pid)
                stack.callback(os.close, process)
                signal.pidfd_send_signal(process, number)
                # its descriptors stay open for a moment after its environment is gone, when daemons() does not find it
                # any more
                if not select.select([process], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise LabError(f"{machine}: {name} did not end")

    def log(self, machine: str, name: str) -> str:
        """Return the last that a program said; where packages run, all services say it in one place."""
        return self.exec(machine, ["tail", "-n", "20", self.log_file(machine, name)], check=False).stdout

    def log_file(self, machine: str, name: str) -> str:
        return "/run/procd.log" if machine in self.packaged else f"/run/log/{name}.log"


# The parents (nsenter) of processes that outlive a call: kept, for a Popen that is forgotten warns when it is collected
STARTED: list[subprocess.Popen] = []

# The first process of a lab: reaps ended processes, and prints its process id as seen from outside. It has a /run of
# its own for the wire's pipes.
INIT = """
import os, signal, subprocess
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(os.readlink("/proc/self"), flush=True)
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
while True:
    signal.pause()
"""


def die_with_parent(parent: int):
    """Return a preexec_fn by which the kernel ends the child when this thread's process ends."""

    def arm() -> None:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return arm
