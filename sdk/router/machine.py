# SPDX-License-Identifier: ISC
"""A node of a root file system: its own procd as the first process, of namespaces of its own inside a lab.

Its writes go to an overlay in the /run of the lab's first process. A reboot finds them there, and they end with the
lab. It has a /dev of its own. In /proc/sys and /sys it can write network settings only, since kernel.*, vm.* and
devices belong to the whole machine. It has no capability that would reach the kernel in another way.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sdk.lab.machine import LabError, Machines
from sdk.timeouts import TIMEOUT_SCALE

PLACE = "/run/routers"  # in the lab's first process
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
END_S = 60 * TIMEOUT_SCALE
NOT_ALLOWED = ",".join(
    f"-{name}"
    for name in (
        "sys_module",
        "sys_rawio",
        "sys_time",
        "sys_resource",
        "sys_pacct",
        "syslog",
        "mknod",
        "audit_control",
        "audit_write",
        "mac_admin",
        "mac_override",
        "wake_alarm",
        "block_suspend",
    )
)
MAY = ("setpriv", "--bounding-set", NOT_ALLOWED, "--inh-caps", "-all", "--")
SPACES = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--propagation", "private", "--fork")
# $1 the root's files, $2 the folder of the overlay, $3 a folder of packages, $4 the name. Says its process id, waits
# for a line (the devices are there), and becomes procd.
BOOT = """
set -e
read -r pid _ </proc/self/stat
hostname "$4"
mkdir -p "$2/upper" "$2/work" "$2/root"
mount -t overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" overlay "$2/root"
cd "$2/root"
mkdir -p proc sys dev tmp mnt
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
for sub in net kernel/hostname; do
	mount -t proc proc mnt
	mount --bind "mnt/sys/$sub" "proc/sys/$sub"
	umount -l mnt
done
# no firewall sees what OpenWrt's bridges pass; a machine with br_netfilter has it otherwise
for file in proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$file" ] || echo 0 >"$file"; done
mount -t sysfs sysfs mnt
mount -t sysfs -o ro sysfs sys
mount --bind mnt/devices/virtual/net sys/devices/virtual/net
umount -l mnt
for sub in kernel fs firmware power; do [ ! -d "sys/$sub" ] || mount -t tmpfs -o ro tmpfs "sys/$sub"; done
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts
for device in null zero full random urandom tty net/tun; do
	[ ! -e "/dev/$device" ] || { : >"dev/$device"; mount --bind "/dev/$device" "dev/$device"; }
done
for device in kmsg console; do : >"dev/$device"; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for file in sysrq-trigger kmsg kcore; do [ ! -e "proc/$file" ] || mount --bind dev/null "proc/$file"; done
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir tmp/shm tmp/run tmp/lock tmp/state
mount --bind "$3" mnt
mount -o remount,ro,bind mnt
mkdir dev/old
pivot_root . dev/old
echo "$pid"
read -r _
umount -l /dev/old
rmdir /dev/old
exec >/dev/console </dev/null 2>&1
exec env -i container=lxc PATH="$5" /sbin/procd
"""


class Router:
    """A node that is on, or off: boot() it, run() commands on it."""

    def __init__(self, machines: Machines, name: str, rootfs: Path, packages: Path):
        self.machines, self.name, self.rootfs, self.packages = machines, name, rootfs, packages
        self.pid = 0
        self.init: subprocess.Popen | None = None

    @property
    def place(self) -> Path:
        """The overlay's folder, as this machine sees it: what the node has written is in upper/."""
        return Path(f"/proc/{self.machines.init_pid}/root{PLACE}/{self.name}")

    def file(self, path: str) -> Path:
        """A file of the node by its path, as this machine sees it; over no symlink, which would be this machine's."""
        return Path(f"/proc/{self.pid}/root{path}")

    def boot(self) -> None:
        """Make its namespaces and file systems; its devices are still to come, and start()."""
        enter = ["nsenter", f"--target={self.machines.init_pid}", "--pid", "--mount", "--"]
        words = ["sh", str(self.rootfs), f"{PLACE}/{self.name}", str(self.packages), self.name, PATH]
        self.init = subprocess.Popen(
            [*enter, *MAY, *SPACES, "sh", "-c", BOOT, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.machines.environment(self.name),
            start_new_session=True,
        )
        assert self.init.stdout
        assert self.init.stderr
        word = self.init.stdout.readline()
        if not word.strip().isdigit():
            said = self.init.stderr.read().decode(errors="replace").strip().splitlines()
            raise LabError(f"{self.name} did not boot: {said[-1] if said else 'it said nothing'}")
        self.pid = int(word)
        self.machines.pids[self.name] = self.pid

    def start(self) -> None:
        """Let procd begin."""
        assert self.init
        assert self.init.stdin
        self.init.stdin.write(b"\n")
        self.init.stdin.close()

    def wait_for_end(self, within_s: float) -> None:
        """Wait until its first process has ended, as after a reboot. Raises LabError if it does not."""
        assert self.init
        try:
            self.init.wait(within_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} has not gone down within {within_s:g} s") from None
        self.forget()

    def forget(self) -> None:
        assert self.init
        for pipe in (self.init.stdin, self.init.stdout, self.init.stderr):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.machines.pids.pop(self.name, None)

    def run(self, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess:
        """Run a command on it, with what it says in one text. Raises LabError if it does not end."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--ipc", "--pid", "--wdns=/"]
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *MAY, *enter, "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={"PATH": f"{PATH}:/usr/local/bin", "HOME": "/root", "TERM": "dumb", "LC_ALL": "C"},
        )
        try:
            said, _ = started.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_tree(started.pid)
            started.communicate()
            raise LabError(f"{self.name}: `{' '.join(argv)}` did not end within {timeout_s:g} s") from None
        except BaseException:
            end_tree(started.pid)
            raise
        return subprocess.CompletedProcess(argv, started.returncode, said, "")


def end_tree(pid: int) -> None:
    """SIGKILL a process and its children: nsenter waits outside for a command that is its child."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            end_tree(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
