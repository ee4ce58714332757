# SPDX-License-Identifier: ISC
"""A root of Debian over which a command, or its own systemd, runs in namespaces that end with us.

What is written goes into a folder of its own, so the root stays as it is. It has root's rights, for daemons need them,
and no say in this machine's devices and settings but those of its network namespace.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sdk.debian.root import PASSED, lend

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
BOOT_S = 60
# units that ask for hardware, or would change what is not theirs
MASKED = (
    "systemd-sysctl systemd-modules-load systemd-udevd systemd-udev-trigger systemd-logind systemd-timesyncd "
    "getty@tty1 console-getty systemd-remount-fs systemd-hostnamed apt-daily apt-daily-upgrade"
)
# {lowers}: folders, the uppermost first; {upper}, {work}: folders of one file system; {shared}: becomes /shared
ENTER = """\
set -e
mount --make-rprivate /
mkdir -p {work}/w {work}/root {upper}
mount -t overlay -o lowerdir={lowers},upperdir={upper},workdir={work}/w overlay {work}/root
cd {work}/root
mount -t proc proc proc
for fixed in kernel vm fs; do mount --bind proc/sys/$fixed proc/sys/$fixed
mount -o remount,bind,ro proc/sys/$fixed; done
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 net/tun:10:200; do
	name=${{node%%:*}} numbers=${{node#*:}}
	mknod -m 666 dev/$name c ${{numbers%:*}} ${{numbers#*:}}
done
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p shared old
mount --bind {shared} shared
{more}
pivot_root . old
umount -l /old
"""
SYSTEMD = """\
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t devpts -o newinstance,mode=620,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for unit in {masked}; do ln -sf /dev/null etc/systemd/system/$unit.service; done
"""
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL")


class ContainerError(RuntimeError):
    """It does not start, or a command in it fails: one sentence."""


def script(lowers: Sequence[Path], upper: Path, shared: Path, more: str) -> str:
    folders = {
        "lowers": ":".join(map(str, lowers)),
        "upper": upper,
        "work": f"{upper}.work",
        "shared": shared,
    }
    return ENTER.format(more=more, **{name: shlex.quote(str(value)) for name, value in folders.items()})


def run(lowers: Sequence[Path], upper: Path, shared: Path, lines: str) -> str:
    """Run lines of sh over a root, with this machine's network; return what they say. Raises ContainerError."""
    enter = script(lowers, upper, shared, lend())
    passed = {name: text for name, text in os.environ.items() if name.startswith(PASSED)}
    words = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        *NAMESPACES,
        "sh",
        "-c",
        enter + 'sh -ec "$1"',
        "enter",
        lines,
    ]
    done = subprocess.run(words, env={**passed, **ENVIRONMENT}, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise ContainerError(f"over {lowers[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


class Container:
    """systemd over a root. space: the process whose network namespace it shares; None: one of its own."""

    def __init__(self, lowers: Sequence[Path], upper: Path, shared: Path, space: int | None = None) -> None:
        self.enter = script(lowers, upper, shared, SYSTEMD.format(masked=MASKED))
        self.space, self.pid = space, 0
        self.process: subprocess.Popen | None = None
        self.group = group_folder() / f"container-{os.getpid()}-{id(self)}"

    def __enter__(self) -> "Container":
        self.group.mkdir()
        network = [f"--net=/proc/{self.space}/ns/net"] if self.space else []
        inside = self.enter + "exec env -i container=other PATH=" + PATH + " /lib/systemd/systemd"
        words = ["setpriv", "--pdeathsig", "KILL", *(["nsenter", *network] if network else [])]
        words += ["unshare", "--cgroup", *([] if network else ["--net"]), *NAMESPACES, "sh", "-c", inside]
        joined = f'echo $$ >{shlex.quote(str(self.group / "cgroup.procs"))}; exec "$@"'
        self.process = subprocess.Popen(
            ["sh", "-c", joined, "join", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )
        try:
            self.wait("its first process", self._find)
            self.wait(
                "systemd", lambda: self.try_run("systemctl is-system-running | grep -E 'running|degraded'")
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def _find(self) -> bool:
        assert self.process
        with contextlib.suppress(OSError):
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if found and "systemd" in Path(f"/proc/{found[0]}/comm").read_text():
                self.pid = int(found[0])
                return True
        return False

    def wait(self, what: str, is_there, seconds: float = BOOT_S) -> None:
        end = time.monotonic() + seconds
        while not is_there():
            if time.monotonic() > end or (self.process and self.process.poll() is not None):
                raise ContainerError(f"{what} was not there after {seconds:g} s")
            time.sleep(0.2)

    def words(self, lines: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-i", "-u", "-C", "sh", "-ec", lines]

    def try_run(self, lines: str) -> bool:
        words = self.words(lines)
        return subprocess.run(words, env=ENVIRONMENT, capture_output=True, timeout=120).returncode == 0

    def run(self, lines: str, check: bool = True, timeout_s: float = 300) -> str:
        """Run lines of sh in it; return what they say. Raises ContainerError."""
        done = subprocess.run(
            self.words(lines), env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout_s
        )
        if check and done.returncode:
            raise ContainerError(
                f"`{lines}` ended with {done.returncode}: {(done.stderr + done.stdout).strip()[-2000:]}"
            )
        return done.stdout + done.stderr

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        folders = [self.group, *self.group.rglob("*/")] if self.group.exists() else []
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            for _try in range(50):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)


def group_folder() -> Path:
    """Return where this machine has its groups of version 2. Raises ContainerError."""
    for line in Path("/proc/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    raise ContainerError("there are no cgroups of version 2 here, which systemd needs: mount -t cgroup2")


def forget(folder: Path) -> None:
    """Remove what an overlay has left."""
    for path in (folder, Path(f"{folder}.work")):
        shutil.rmtree(path, ignore_errors=True)
