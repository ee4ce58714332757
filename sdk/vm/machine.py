# SPDX-License-Identifier: ISC
"""Boot a kernel in QEMU over the live root file system, run one command, and hand out what it said and left.

virtme-ng says how: it makes the first files (initramfs) of a kernel from its modules, and the command line of QEMU. The
first process is ours (init). Two 9p shares connect inside and outside: this machine's root, read-only, and a folder to
write to. Standard output and error have a port each. There is no network. QEMU is this process's child, and the kernel
ends it when this process ends, however that is.
"""

import contextlib
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdk.lab.machine import REPOSITORY, die_with_parent
from sdk.vm.disk_image import make_image
from sdk.vm.kernels import BUSYBOX, VmError
from sdk.vm.kernels import run as run_here

VIRTME = REPOSITORY / "build/vm/venv/bin/virtme-run"
INIT = REPOSITORY / "sdk/vm/init"
QEMU = "qemu-system-x86_64"
LATE, LOST = 124, 125  # exit statuses: the time was over; the machine ended without one
NOT_COPIED = 2  # the command did well, but what it left in $OUT could not be copied
# These words switch off what an emulated processor is slow at. With norandmaps QEMU translates the code of a program
# once and not for each process: it starts in 30 ms instead of 150. With tsc=reliable the time is not read from the
# HPET; both processors have one counter, whatever the kernel's test says. Mitigations guard real processors only.
# A machine has one processor. With several, each is a thread of QEMU. QEMU 7.2 may translate code while the kernel on
# another processor rewrites it, as for a static key. Then it meets the kernel's breakpoint again and again, for ever.
KERNEL_WORDS = (
    "loglevel=6 panic=-1 norandmaps nokaslr no5lvl mitigations=off init_on_alloc=0 cgroup_disable=memory nowatchdog "
    "audit=0 apparmor=0 random.trust_cpu=on tsc=reliable rcupdate.rcu_expedited=1"
)


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """What a machine is to be: its kernel's folder, modules to load, memory (MB), processors, a time limit (s)."""

    kernel: Path
    modules: tuple[Path, ...] = ()
    memory_mb: int = 3072
    processors: int = 1
    limit_s: float = 600
    kernel_words: tuple[str, ...] = ()
    out: Path | None = None  # where to leave what the command wrote to $OUT; None: nowhere


def run(options: MachineOptions, command: Sequence[str]) -> int:
    """Run a command in a machine of its own and return its exit status, LATE or LOST. Raises VmError."""
    if shutil.which(QEMU) is None or not VIRTME.exists():
        raise VmError(f"{QEMU} or virtme-ng is not installed: `make vm` installs both")
    if set(str(REPOSITORY)) & set(" \t\n,"):
        raise VmError(f"{str(REPOSITORY)!r} has a blank or a comma in it, which QEMU would not understand")
    if options.out:
        need_writable(options.out)
    runs = REPOSITORY / "build/vm/runs"
    runs.mkdir(parents=True, exist_ok=True)
    remove_stale(runs)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=runs) as temporary:
        share = Path(temporary, "share")
        (share / "out").mkdir(parents=True)
        (share / "command").write_bytes(os.fsencode(shlex.join(command) + "\n"))
        (share / "settings").write_bytes(os.fsencode(settings(options)))
        try:
            status = boot(options, Path(temporary), share)
        finally:
            is_copied = options.out is None or copy_results(share, options.out)
        return status if status or is_copied else NOT_COPIED


def need_writable(folder: Path) -> None:
    """Make a folder, now: after the command is too late to find that nothing can be left there. Raises VmError."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise VmError(f"nothing can be written to the folder {folder}")


def remove_stale(runs: Path) -> None:
    """Remove what runs that were killed have left behind."""
    for left in runs.iterdir():
        if not Path("/proc", left.name.partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)


def settings(options: MachineOptions) -> str:
    """Return what the first process is told, as variables of sh."""
    ask = (
        "modprobe",
        "-d",
        str(options.kernel),
        "-S",
        options.kernel.name,
        "-C",
        "/dev/null",
        "--show-depends",
        "-a",
    )
    lines = run_here(*ask, "virtio_blk", "ext4").splitlines()
    values = {
        "KERNEL": str(options.kernel),
        "DISK_MODULES": " ".join(line.split()[1] for line in lines if line.startswith("insmod ")),
        "MODULES": " ".join(str(module) for module in options.modules),
        "FOLDER": os.getcwd(),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def copy_results(share: Path, out: Path) -> bool:
    """Copy out what the command left, of whatever kind it is, and what the kernel said; return whether all is there.

    Each for itself, for the folder stays as it is: it may be /tmp.
    """
    logs = [str(log) for log in (share / "console.log", share / "kernel.log") if log.exists()]
    copy = ("cp", "-a", "--remove-destination", "-t", str(out), "--")
    try:
        run_here("find", str(share / "out"), "-mindepth", "1", "-maxdepth", "1", "-exec", *copy, "{}", "+")
        run_here(*copy, *logs)
    except VmError as error:
        say(f"vm: {error}")
        return False
    return True


def boot(options: MachineOptions, folder: Path, share: Path) -> int:
    (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
    try:
        with (share / "console.log").open("w") as console:
            qemu = subprocess.Popen(
                qemu_words(options, folder, share, out_write, err_write),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=(out_write, err_write),
                start_new_session=True,  # Ctrl-C is for us
                preexec_fn=die_with_parent(os.getpid()),
            )
        os.close(out_write)
        os.close(err_write)
        try:
            is_over = forward({out_read: 1, err_read: 2}, time.monotonic() + options.limit_s)
        finally:
            qemu.kill()
            qemu.wait()
    finally:
        os.close(out_read)
        os.close(err_read)
    if is_over:
        say(f"vm: the time of {options.limit_s:g} s is over, the command has not ended")
        return LATE
    with contextlib.suppress(OSError, ValueError):
        return int((share / "status").read_text())
    lines = (share / "console.log").read_text(errors="replace").strip().splitlines()
    say(
        f"vm: the machine ended without a word of how the command did; its last: {lines[-1] if lines else 'none'}"
    )
    return LOST


def forward(pipes: dict[int, int], deadline: float) -> bool:
    """Copy from each pipe to its descriptor until all have ended; return whether the deadline came first."""
    left = dict(pipes)
    while left:
        ready, _, _ = select.select(list(left), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return True
        for each in ready:
            data = os.read(each, 1 << 16)
            if not data:
                del left[each]
            elif not write_all(left[each], data, deadline):
                return True
    return False


def write_all(descriptor: int, data: bytes, deadline: float) -> bool:
    """Write all data, as fast as somebody reads it; return False if the deadline came first."""
    while data:
        try:
            _, ready, _ = select.select([], [descriptor], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return False
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
        except OSError:  # nobody listens any more, or the disk is full; the command goes on
            return True
    return True


def say(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())


def qemu_words(options: MachineOptions, folder: Path, share: Path, out: int, err: int) -> list[str]:
    """Return QEMU's command line: virtme-ng's, with our first process, shares and ports."""
    kernel = options.kernel / f"boot/vmlinuz-{options.kernel.name}"
    virtme = [
        *(str(VIRTME), "--dry-run", "--show-command", "--save-initramfs", str(folder / "initramfs")),
        *("--kimg", str(kernel), "--mods", "auto", "--disable-kvm", "--force-9p", "--disable-monitor"),
        *("--overlay-rwdir", "/mnt"),  # for the module overlay among the first files
        *("--busybox", str(BUSYBOX), "--memory", f"{options.memory_mb}M", "--cpus", str(options.processors)),
    ]
    virtme += [f"--kopt={word}" for word in (*KERNEL_WORDS.split(), *options.kernel_words)]
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        virtme, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    words = shlex.split(done.stdout)
    if done.returncode or "-append" not in words:
        said = (done.stderr.strip() or "nothing").splitlines()
        raise VmError(f"virtme-ng does not know how to boot {kernel.name}: {said[-1]}")
    append = words.index("-append") + 1
    before = words[append].partition("init=")[0]
    words[append] = f"{before}init={BUSYBOX} -- sh {INIT}"
    for tag, path, is_ro in (("vm.root", "/", True), ("vm.out", str(share), False)):
        device = f"local,id={tag},path={path},security_model=none,multidevs=remap"
        words += ["-fsdev", device + (",readonly=on" if is_ro else "")]
        words += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    words += ["-drive", f"file={make_image(folder)},format=raw,if=virtio,cache=unsafe,readonly=on"]
    for name, number in (("vm.stdout", out), ("vm.stderr", err)):
        words += ["-chardev", f"file,id={name},path=/proc/self/fd/{number}"]
        words += ["-device", f"virtserialport,name={name},chardev={name}"]
    return [*words, "-no-reboot"]
