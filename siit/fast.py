# SPDX-License-Identifier: ISC
"""The BPF fast path at a device: whether there is one, and why not. The program is in siit/bpf, its loader too.

What it leaves alone goes to the pumps, and so does everything where there is none. It stays when the daemon ends: the
next one puts its own in its place.
"""

import errno
import fcntl
import os
import re
import socket
import struct

from siit._siit import ffi, lib
from siit.translator import Map

SIOCGIFINDEX = 0x8933
IPV6_LONGER = 20  # bytes, than IPv4
# Linux releases from which on a chain of packets (fraglist GRO) is cut right after a BPF program has translated it; of
# others the program leaves chains alone. By the commit "net: fix segmentation of forwarding fraglist GRO".
CHAINS_SINCE = ((6, 12, 69), (6, 18, 9))
CHAINS_FROM = (6, 19)


class FastError(Exception):
    """There is no fast path; one sentence says why."""


def cuts_chains(release: str) -> bool:
    """Whether the kernel of a release (as uname says it) cuts translated chains of packets right."""
    numbers = tuple(int(each) for each in re.findall(r"\d+", release.split("-")[0])[:3])
    return numbers >= CHAINS_FROM or any(
        numbers[:2] == since[:2] and numbers >= since for since in CHAINS_SINCE
    )


def _index_of(name: str) -> int:
    """As socket.if_nametoindex, but it says what is wrong."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        answer = fcntl.ioctl(asker, SIOCGIFINDEX, struct.pack("16si20x", name.encode(), 0))
    return struct.unpack_from("16si", answer)[1]


def _explain(error: int, said: str) -> str:
    if error == errno.ENOSYS:
        return "the kernel has no BPF"
    if error in (errno.EPERM, errno.EACCES) and not said:
        return "the kernel allows no BPF (lockdown, or no CAP_BPF and CAP_NET_ADMIN)"
    words = [line for line in said.splitlines() if line.strip() and not line.startswith("processed ")]
    if words:
        return f"the kernel refuses the program: {words[-1]}"
    return f"the kernel refuses the program: {os.strerror(error)}"


class Fast:
    """A program for one device, with rules of its own; attached as long as nothing speaks against it.

    Raises FastError when the kernel does not take it.
    """

    def __init__(self, name: str, rules: Map) -> None:
        self._name = name
        self._index = _index_of(name)
        self._has_chains = cuts_chains(os.uname().release)
        self._fast = ffi.new("struct siit_fast *")
        self.is_attached = False
        self._has_rules = False  # the rules
        self._against = ""  # why it is not attached
        said = ffi.new("char[]", lib.SIIT_FAST_LOG)
        length = lib.siit_fast_load(self._fast, said)
        if length < 0:
            raise FastError(_explain(-length, ffi.string(said).decode("ascii", "replace")))
        self.is_compiled = length > 0  # by a JIT; else the kernel interprets it
        try:
            self.use(rules)
            self.follow()
        except BaseException:
            self.close()
            raise

    def use(self, rules: Map) -> None:
        """Translate by these rules from the next packet on."""
        answer = lib.siit_fast_use(self._fast, rules.pointer, self._has_chains)
        if answer < 0:
            raise FastError(f"the kernel does not take its rules: {os.strerror(-answer)}")
        self._has_rules = answer == 1

    def follow(self) -> None:
        """Be attached unless somebody has put a qdisc at the device's root, which would see nothing any more."""
        kind = ffi.new("char[]", lib.SIIT_QDISC_NAME)
        is_limited = lib.siit_fast_qdisc(self._index, kind) == 1
        self._against = (
            f"the device's qdisc {ffi.string(kind).decode()} would see no packet" if is_limited else ""
        )
        if is_limited == self.is_attached:
            if is_limited:
                detach(self._name)
            else:
                error = lib.siit_fast_attach(self._fast, self._index)
                if error:
                    raise FastError(f"the kernel does not attach it: {os.strerror(-error)}")
            self.is_attached = not is_limited

    @property
    def takes_lists(self) -> bool:
        """Whether chains of packets need not come to the pump, one by one; also while there are no rules."""
        return self.is_attached and self._has_chains

    def state(self) -> str:
        """For people: on, or off and why."""
        if self._against:
            return f"off: {self._against}"
        return (
            "on"
            if self._has_rules
            else "off: it knows no rules but one pair of RFC6052 with a /96 on both sides"
        )

    def add_to(self, counters: dict[str, int]) -> None:
        """Add what was translated here to the pumps' counters: one super-packet is one packet there, too."""
        count = ffi.new("struct siit_fast_count *")
        if lib.siit_fast_read(self._fast, count):
            return
        for came, left, packets, size, longer in (
            ("in4", "out6", count.packets4, count.bytes4, IPV6_LONGER),
            ("in6", "out4", count.packets6, count.bytes6, -IPV6_LONGER),
        ):
            counters["translated"] += packets
            counters["translated_in_kernel"] += packets
            counters[f"{came}_packets"] += packets
            counters[f"{came}_bytes"] += size
            counters[f"{left}_packets"] += packets
            counters[f"{left}_bytes"] += size + packets * longer

    def close(self) -> None:
        """Let go of it; it stays at the device."""
        lib.siit_fast_close(self._fast)


def detach(name: str) -> None:
    """Take away what an earlier daemon, or we, left at a device."""
    lib.siit_fast_detach(_index_of(name))
