# SPDX-License-Identifier: ISC
"""What a target is, to which commands go, and the calls that both kinds make. I/O only: translator.py decides.

A target's `perform` opens a session, alone: another process or thread with this shim waits for a lock (flock on the
network namespace, or on the socket's folder), LOCK_S at most. kernel.py is the kernel module's control file,
userspace.py is siit's socket.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from nat46 import libc
from nat46.errors import CallFailed, NotPermitted
from nat46.fair_lock import fair_lock

Result = TypeVar("Result")
SIOCGIFMTU, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8921, 0x8913, 0x8914
IFF_UP = 0x1
CODE = {"encoding": "utf-8", "errors": "surrogateescape"}  # of names: the kernel takes any bytes for one
LOCK_S = 30.0  # that another program may keep the lock
LOOK_AGAIN_S = 0.005


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a device has counted since it was made. in_ is what was routed into it, out_ what came out translated.

    The module's device counts the other way round (nat46_netdev_xmit adds to rx, nat46_netdev_count_xmit to tx); here
    both translators mean the same. counters are siit's own, by name: one for each reason for a drop.
    """

    in_packets: int
    in_bytes: int
    out_packets: int
    out_bytes: int
    counters: dict[str, int] = field(default_factory=dict)


class Session(Protocol):
    """One exclusive use of a target."""

    def send(self, command: str) -> None:
        """Send one command in one write(2). Raises CallFailed, Rejected."""

    def read(self) -> str:
        """The listing as text. Raises CallFailed."""

    def statistics(self, device: str) -> Statistics:
        """Raises CallFailed, NoDevice, Unreadable."""

    def has_interface(self, name: str) -> bool:
        """Whether a new device could not have this name, because a network device of another kind has it.

        False as well where the translator answers that itself.
        """

    def mtu_bytes(self, device: str) -> int:
        """A network device's MTU. Raises CallFailed."""

    def take_down(self, device: str) -> None:
        """See to it that the device has no packets any more, before it is deleted. Raises CallFailed."""


class Target(Protocol):
    """Something that translates and takes commands."""

    @property
    def name(self) -> str:
        """For people: where it is."""

    @property
    def keeps_debug(self) -> bool:
        """Whether `debug N` is remembered and listed."""

    def perform(self, work: Callable[[Session], Result]) -> Result:
        """Open a session alone, and return what the work makes of it. Raises CallFailed."""


def failed(call: str, path: str, number: int, hint: str = "") -> CallFailed:
    """The error for an errno, of the class that fits it."""
    if number in (errno.EACCES, errno.EPERM):
        return NotPermitted(call, path, number, "it takes root")
    return CallFailed(call, path, number, hint)


def _open(path: str, flags: int, missing: Callable[[], CallFailed] | None = None) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT and missing:
            raise missing() from None
        raise failed("open", path, error.errno or 0) from None


@contextlib.contextmanager
def opened(path: str, flags: int, missing: Callable[[], CallFailed] | None = None) -> Iterator[int]:
    fd = _open(path, flags, missing)
    try:
        yield fd
    finally:
        os.close(fd)


def write_once(fd: int, data: bytes, path: str) -> None:
    """One write(2), for the rest of a command would be another command. Raises CallFailed."""
    try:
        taken = libc.write(fd, data)
    except libc.CallError as error:
        raise failed(error.call, path, error.number) from None
    if taken != len(data):
        raise CallFailed("write", path, errno.EIO, f"it took {taken} of {len(data)} bytes")


@contextlib.contextmanager
def locked(
    path: str, flags: int = os.O_RDONLY, missing: Callable[[], CallFailed] | None = None
) -> Iterator[None]:
    """Hold the lock of a file or folder. Raises CallFailed, EAGAIN if another program keeps it.

    It is given back, for closing alone does not end it while a child that some thread forked has the file as well.
    """
    end = time.monotonic() + LOCK_S
    with opened(path, flags, missing) as fd, fair_lock.acquire(_identity(fd), end) as is_ours:
        try:
            while not (is_ours and libc.try_lock(fd)):
                if time.monotonic() > end:
                    who = "another program has" if is_ours else "other threads have"
                    raise CallFailed("flock", path, errno.EAGAIN, f"{who} held it for {LOCK_S:g} s")
                time.sleep(LOOK_AGAIN_S)
            try:
                yield
            finally:
                libc.unlock(fd)
        except libc.CallError as error:
            raise failed(error.call, path, error.number) from None


def _identity(fd: int) -> tuple[int, int]:
    """The same for all who have this file open."""
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def has_interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def mtu_bytes(device: str) -> int:
    return int(_interface_call(SIOCGIFMTU, "i", device, 0))


def take_down(device: str) -> None:
    try:
        flags = _interface_call(SIOCGIFFLAGS, "H", device, 0)
        if flags & IFF_UP:
            _interface_call(SIOCSIFFLAGS, "H", device, flags & ~IFF_UP)
    except CallFailed as error:
        if error.errno != errno.ENODEV:  # it is gone already
            raise


def _interface_call(number: int, kind: str, device: str, value: int) -> int:
    """Make one of the netdevice(7) calls about a device, with a value of a kind (struct's); return the answer's."""
    layout = struct.Struct(f"16s{kind}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            request = layout.pack(device.encode(**CODE), value)
            answer = fcntl.ioctl(any_socket, number, request.ljust(40, bytes(1)))
        except OSError as error:
            raise failed("ioctl", device, error.errno or 0) from None
    return int(layout.unpack_from(answer)[1])
