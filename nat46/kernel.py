# SPDX-License-Identifier: ISC
"""The kernel module's control file as a target, in this network namespace or in another one.

The module takes the network namespace of the task that writes, not of the file (nat46_get_net). So opening another
namespace's file is not enough. A session with a namespace is a thread that has entered it. For the same reason the file
is opened below /proc/thread-self: /proc/net is that of the process's first thread.

That a session is alone is necessary here. The module prints a listing without its lock (nat64_show_all_configs), from
rules that a write at the same time frees (netdev_nat46_set_instance). The lock is on the namespace's own file, which is
one and the same for all who are in it. Below /proc/net each opening makes another inode (pde_force_lookup), and a lock
on one of those keeps nobody out.
"""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from nat46 import libc
from nat46.errors import CallFailed, ModuleMissing, NoDevice, Unreadable
from nat46.target import (
    CODE,
    Result,
    Session,
    Statistics,
    failed,
    has_interface,
    locked,
    mtu_bytes,
    opened,
    take_down,
    write_once,
)

CONTROL = "/proc/net/nat46/control"
NAMESPACE = "/proc/thread-self/ns/net"
FINISH_S = 2.0  # for a session that nobody waits for any more
ONLY_ONE = "/proc"  # to lock in a kernel without network namespaces
LOAD = "load the module: modprobe nf_defrag_ipv6; modprobe nat46 (OpenWrt: kmod-nat46)"
LOADED = "/sys/module/nat46"
ELSEWHERE = f"the module is loaded, but its file, {CONTROL}, is not seen here (in a container?)"


def namespace_path(namespace: str | int) -> str:
    """The file of a network namespace: by name (of `ip netns`), by path, or by a process's number."""
    if isinstance(namespace, int):
        return f"/proc/{namespace}/ns/net"
    return namespace if "/" in namespace else f"/var/run/netns/{namespace}"


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """nat46's control file, in the caller's network namespace or in another one."""

    path: str = CONTROL
    namespace: str | int | None = None
    keeps_debug: bool = True

    @property
    def name(self) -> str:
        return self.path if self.namespace is None else f"{self.path} in {namespace_path(self.namespace)}"

    def perform(self, work: Callable[[Session], Result]) -> Result:
        def alone() -> Result:
            with locked(NAMESPACE if os.path.exists(NAMESPACE) else ONLY_ONE):
                return work(_KernelSession(_of_this_thread(self.path), self.path))

        return alone() if self.namespace is None else _in_network(namespace_path(self.namespace), alone)


def _module_missing(path: str) -> ModuleMissing:
    return ModuleMissing("open", path, errno.ENOENT, ELSEWHERE if os.path.exists(LOADED) else LOAD)


def _of_this_thread(path: str) -> str:
    return path.replace("/proc/net/", "/proc/thread-self/net/", 1) if path.startswith("/proc/net/") else path


def _in_network(path: str, work: Callable[[], Result]) -> Result:
    """Do the work in a thread of its own, which has entered a network namespace. Raises what it raises."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            with opened(path, os.O_RDONLY) as fd:
                try:
                    libc.enter_network(fd)
                except libc.CallError as error:
                    raise failed(error.call, path, error.number) from None
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:  # somebody interrupts us: no device is left half made
        thread.join(FINISH_S)
        raise
    if errors:
        raise errors[0]
    return results[0]


@dataclass(frozen=True, slots=True)
class _KernelSession:
    path: str  # as this thread sees it
    shown_path: str  # as the caller called it

    def send(self, command: str) -> None:
        missing = lambda: _module_missing(self.shown_path)  # noqa: E731
        with opened(self.path, os.O_WRONLY, missing) as fd:
            write_once(fd, command.encode("ascii") + b"\n", self.shown_path)

    def read(self) -> str:
        return as_text(_read_all(self.path, lambda: _module_missing(self.shown_path)))

    def statistics(self, device: str) -> Statistics:
        return parse_net_dev(as_text(_read_all("/proc/thread-self/net/dev")), device)

    def has_interface(self, name: str) -> bool:
        return has_interface(name)

    def mtu_bytes(self, device: str) -> int:
        return mtu_bytes(device)

    def take_down(self, device: str) -> None:
        take_down(device)


def as_text(data: bytes) -> str:
    return data.decode(**CODE)


def _read_all(path: str, missing: Callable[[], CallFailed] | None = None) -> bytes:
    with opened(path, os.O_RDONLY, missing) as fd:
        parts = []
        try:
            while part := os.read(fd, 65536):
                parts.append(part)
        except OSError as error:
            raise failed("read", path, error.errno or 0) from None
        return b"".join(parts)


def parse_net_dev(text: str, device: str) -> Statistics:
    """The counters of a nat46 device in the text of /proc/net/dev. Raises NoDevice, Unreadable."""
    for line in text.split("\n")[2:]:
        name, _, rest = line.partition(":")
        if name.strip(" ") != device:
            continue
        numbers = rest.split()
        if len(numbers) < 10 or not all(number.isdigit() for number in numbers):
            raise Unreadable("/proc/net/dev", f"the line of {device} is no line of counters")
        return Statistics(int(numbers[1]), int(numbers[0]), int(numbers[9]), int(numbers[8]))
    raise NoDevice(device, ())
