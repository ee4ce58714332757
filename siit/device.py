# SPDX-License-Identifier: ISC
"""A translator device: a persistent TUN, a pump and a thread for each of its queues.

The BPF fast path, if it is asked for, is on the same device. It gets each new set of rules as the pumps do; what it
leaves alone comes to the pumps.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from nat46.language import Pair
from runtime.log import Log
from siit import control, fast
from siit.translator import DEFAULT_POLICY, MIN_MTU6, Map, Policy

try:
    from siit._siit import ffi, lib
except ImportError as error:  # the module is compiled, not shipped
    raise ImportError(f"siit is not compiled, run `python -m siit._build` first ({error})") from error

TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0001, 0x1000, 0x4000, 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 0x01, 0x02, 0x04, 0x08
TUN_F_USO = 0x20 | 0x40  # USO4 and USO6, which Linux 6.2 and later take, and only together
SIOCGIFMTU = 0x8921
VNET_HDR_BYTES = 10
ICMP_PER_S = 1000  # errors of our own, for the whole device; Linux's icmp_msgs_per_sec
PUMP_COUNTERS = tuple(ffi.string(lib.siit_counter_name(i)).decode() for i in range(lib.siit_counter_count()))
COUNTERS = (*PUMP_COUNTERS, "translated_in_kernel")
MEANINGS = {name: ffi.string(lib.siit_counter_meaning(i)).decode() for i, name in enumerate(PUMP_COUNTERS)}
MEANINGS["translated_in_kernel"] = "of those translated: by the BPF fast path"
log = Log("siit")


class DeviceError(Exception):
    """The kernel does not give us a device; one sentence says why and what would be right."""


class Device:
    """A device that is there and translates; made new, or found as an earlier daemon left it.

    A new one ends with this process until `persist`. on_end is called, from another thread, when the device was
    deleted under our hands. no_fast: why there is to be no fast path, for `siit stat`; None: have one.
    Raises DeviceError.
    """

    def __init__(
        self,
        name: str,
        pairs: tuple[Pair, ...],
        queues: int,
        on_end: Callable[[], object],
        policy: Policy = DEFAULT_POLICY,
        no_fast: str | None = "off",
    ) -> None:
        self.name = name
        self._no_fast = no_fast or ""
        self._fast: fast.Fast | None = None
        self._policy = policy
        self._on_end = on_end
        self._map: Map | None = None
        self._sides = control.make_sides(pairs)
        self._pumps: list = []
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.is_alive = True
        self._queues = open_queues(name, queues)
        try:
            self.coalesces = set(map(set_offloads, self._queues)) == {True}
            self.mtu_bytes = _read_mtu(name)
            for fd in self._queues:
                pump = lib.siit_pump_new(fd, max(1, ICMP_PER_S // len(self._queues)), self.coalesces)
                if not pump:
                    raise OSError(ffi.errno, os.strerror(ffi.errno))
                self._pumps.append(pump)
            self._switch()
            self._start_fast(no_fast is None)
            for i, pump in enumerate(self._pumps):
                thread = threading.Thread(target=self._run, args=(pump,), name=f"{name}-{i}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except (OSError, RuntimeError) as error:  # no descriptor left, no thread
            self.leave()
            reason = error.strerror if isinstance(error, OSError) else error
            raise DeviceError(f"{name} cannot be used: {reason}") from error
        except BaseException:
            self.leave()
            raise

    def _run(self, pump) -> None:
        lib.siit_pump_run(pump)
        if not self._stopping:
            self.is_alive = False
            self._on_end()

    def _start_fast(self, is_wanted: bool) -> None:
        if not is_wanted:
            fast.detach(self.name)
            return
        assert self._map is not None
        with self._or_none():
            self._fast = fast.Fast(self.name, self._map)

    @contextlib.contextmanager
    def _or_none(self) -> Iterator[None]:
        """Without a fast path the pumps do it all; one that no longer follows the rules must not stay."""
        try:
            yield
        except fast.FastError as error:
            log.warning(f"{self.name} has no fast path: {error}")
            self._no_fast = f"off: {error}"
            fast.detach(self.name)
            if self._fast:
                self._fast.close()
            self._fast = None

    @property
    def queues(self) -> int:
        return len(self._queues)

    @property
    def takes_lists(self) -> bool:
        """Whether a fast path takes lists of packets as they are, for the rules that it can do."""
        return self._fast is not None and self._fast.takes_lists

    @property
    def fast_state(self) -> str:
        """Whether there is a fast path, and why not, for people."""
        return self._fast.state() if self._fast else self._no_fast

    def _switch(self) -> None:
        new = Map(self._sides, max(self.mtu_bytes, MIN_MTU6), policy=self._policy)
        for pump in self._pumps:
            lib.siit_pump_use(pump, new.pointer)
        self._map = new  # only now may the one before be freed
        if self._fast:
            with self._or_none():
                self._fast.use(new)

    def use(self, pairs: tuple[Pair, ...]) -> None:
        """Translate by these rules from now on; no packet is lost over it."""
        self._sides = control.make_sides(pairs)
        self._switch()

    def follow(self) -> None:
        """Make IPv6 packets no larger than the device's MTU, and leave them to its qdisc: others set those."""
        try:
            mtu_bytes = _read_mtu(self.name)
        except DeviceError:
            return  # deleted, the pump sees it too
        if mtu_bytes != self.mtu_bytes:
            self.mtu_bytes = mtu_bytes
            self._switch()
        if self._fast:
            with self._or_none():
                self._fast.follow()

    def counters(self) -> dict[str, int]:
        """All counters by name, summed over the queues; the pumps go on meanwhile."""
        total = [0] * len(PUMP_COUNTERS)
        values = ffi.new("uint64_t[]", len(PUMP_COUNTERS))
        for pump in self._pumps:
            lib.siit_pump_counters(pump, values)
            total = [a + b for a, b in zip(total, values, strict=True)]
        counters = {**dict(zip(PUMP_COUNTERS, total, strict=True)), "translated_in_kernel": 0}
        if self._fast:
            self._fast.add_to(counters)
        return counters

    def leave(self) -> None:
        """Stop translating; a device that persists stays for the next daemon with its routes, another goes."""
        self._stopping = True
        if self._fast:
            self._fast.close()
        self._fast = None
        for pump in self._pumps:
            lib.siit_pump_stop(pump)
        for thread in self._threads:
            thread.join()
        for pump in self._pumps:
            lib.siit_pump_free(pump)
        for fd in self._queues:
            os.close(fd)
        self._pumps, self._threads, self._queues = [], [], []
        self.is_alive = False

    def persist(self, stays: bool) -> None:
        """Whether the device outlives this process, however that ends. New ones do not."""
        try:
            fcntl.ioctl(self._queues[0], TUNSETPERSIST, int(stays))
        except OSError as error:
            if error.errno not in (errno.EBADFD, errno.ENODEV):  # somebody else deleted it
                raise DeviceError(f"{self.name} cannot be kept or given up: {error.strerror}") from error


def open_queues(name: str, queues: int) -> list[int]:
    """Attach to a device, new or left behind, as many times as it is to have queues.

    A device can have several from its start or never: of one that another number left behind it is one.
    """
    try:
        try:
            return _attach(name, queues, queues > 1)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return _attach(name, 1, queues == 1)
    except OSError as error:
        raise DeviceError(_explain(name, error)) from error


def _attach(name: str, queues: int, may_have_several: bool) -> list[int]:
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if may_have_several else 0)
    fds: list[int] = []
    try:
        for _ in range(queues):
            fds.append(os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            fcntl.ioctl(fds[-1], TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _explain(name: str, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return f"{name} is a TUN device that another program has open, expected a name that is free"
    if error.errno == errno.EINVAL:
        return f"{name} is a device, but no TUN that it could use, expected a name that is free"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"{TUN} is missing, expected a kernel with TUN (CONFIG_TUN, module tun)"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no permission to make {name}, expected root (CAP_NET_ADMIN)"
    return f"{name} cannot be made: {error.strerror}"


def set_offloads(fd: int) -> bool:
    """Have super-packets come and go whole. Returns whether UDP's do, which older kernels lack."""
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HDR_BYTES))
    tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO)
    except OSError:
        fcntl.ioctl(fd, TUNSETOFFLOAD, tcp)
        return False
    return True


def _read_mtu(name: str) -> int:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            answer = fcntl.ioctl(asker, SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
    except OSError as error:
        raise DeviceError(f"{name} has no MTU: {error.strerror}") from error
    return struct.unpack_from("16si", answer)[1]
