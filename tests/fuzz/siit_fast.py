# SPDX-License-Identifier: ISC
"""The fast path against the translator in C, packet for packet: `make fuzz-fast PACKETS=N SEED=S`.

A TUN device in a network namespace of its own has the BPF program at its egress. A packet that is sent into the device
comes out at one of two places: translated, at its ingress, or unchanged, where the pump would read it. A translated
packet must equal that of siit_translate bit for bit, with its offload header. A simple packet must be translated.
"""

import argparse
import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from siit_fast_packets import (
    MARKED,
    MARKS,
    MTU6,
    NEEDS_CSUM,
    NEUTRAL_SIDE,
    ROLES,
    TCP,
    UDP,
    VNET_OF,
    Maker,
    Sent,
)

from siit import device
from siit._siit import ffi, lib
from siit.translator import GSO_UDP, Map, Packet, translate_packet

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD


class Refused(Exception):
    """The kernel does not take such a packet from us: offloads that make no sense; before Linux 6.2, those of UDP."""


class Hook:
    """The device with the program, and the sockets around it. Made in a thread that has left our namespace."""

    def __init__(self, rules: Map) -> None:
        self.rules = rules
        made: list[BaseException | None] = []

        def make() -> None:
            try:
                self._make()
                made.append(None)
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if made[0]:
            raise made[0]

    def _make(self) -> None:
        assert lib.siit_fast_unshare() == 0
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")  # or it solicits
        self.tun, self.bare = make_tun("fast"), make_tun("bare")
        self.into = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        for each in (self.into, self.out):
            each.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.out.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.out.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.out.bind(("fast", ETH_P_ALL))
        self.out.setblocking(False)
        self.fast = ffi.new("struct siit_fast *")
        log = ffi.new("char[]", lib.SIIT_FAST_LOG)
        length = lib.siit_fast_load(self.fast, log)
        if length < 0:
            raise OSError(-length, f"the program cannot be loaded: {ffi.string(log).decode()}")
        self.use(self.rules)
        error = lib.siit_fast_attach(self.fast, socket.if_nametoindex("fast"))
        if error:
            raise OSError(-error, "the program cannot be attached")
        self.poll = select.poll()
        self.poll.register(self.tun, select.POLLIN)
        self.poll.register(self.out.fileno(), select.POLLIN)

    def use(self, rules: Map, has_rules: bool = True) -> None:
        self.rules = rules
        assert lib.siit_fast_use(self.fast, rules.pointer, 1) == has_rules

    def send(self, sent: Sent, name: str = "fast") -> None:
        self.into.sendto(sent.frame(), (name, ETH_P_IP if sent.version == 4 else ETH_P_IPV6))

    def without(self, sent: Sent) -> list[bytes]:
        """What the pump would read if there were no program: the kernel drops or cuts offloads that make no sense."""
        for each in (sent, MARKS[0]):
            self.send(each, "bare")
        got: list[bytes] = []
        while not any(MARKED in each for each in got):
            assert select.select([self.bare], [], [], 30)[0], "not even the mark came"
            got += read_all(self.bare)
        return [each for each in got if MARKED not in each]

    def read_outputs(self) -> tuple[list[bytes], list[bytes]]:
        """What is there: translated, and left."""
        translated = []
        with contextlib.suppress(BlockingIOError):
            while True:
                translated.append(self.out.recv(1 << 17))
        return translated, read_all(self.tun)

    def through(self, sent: Sent) -> tuple[list[bytes], list[bytes]]:
        """Send one packet and wait for what becomes of it. Empty: the kernel dropped it."""
        try:
            self.send(sent)
        except OSError:
            if sent.is_simple and sent.gso_type != GSO_UDP:
                raise
            raise Refused from None
        if self.poll.poll(50):
            return self.read_outputs()
        # lost, or late: what is sent behind it says when all before has come
        for mark in MARKS:
            self.send(mark)
        translated: list[bytes] = []
        left: list[bytes] = []
        end = time.monotonic() + 30
        while not (any(MARKED in each for each in translated) and any(MARKED in each for each in left)):
            assert time.monotonic() < end, "not even the marks came"
            self.poll.poll(1000)
            for whole, part in zip((translated, left), self.read_outputs(), strict=True):
                whole += part
        return [t for t in translated if MARKED not in t], [each for each in left if MARKED not in each]

    def count(self) -> tuple[int, int, int, int]:
        count = ffi.new("struct siit_fast_count *")
        assert lib.siit_fast_read(self.fast, count) == 0
        return count.packets4, count.bytes4, count.packets6, count.bytes6

    def close(self) -> None:
        lib.siit_fast_close(self.fast)
        self.into.close()
        self.out.close()
        os.close(self.tun)
        os.close(self.bare)


def make_tun(name: str) -> int:
    """A device that is up and takes large packets, in the thread's namespace; its queue."""
    (queue,) = device.open_queues(name, 1)
    device.set_offloads(queue)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        fcntl.ioctl(asker, 0x8922, struct.pack("16si20x", name.encode(), 65535))  # SIOCSIFMTU
        fcntl.ioctl(asker, 0x8914, struct.pack("16sh22x", name.encode(), 0x41))  # SIOCSIFFLAGS: up, running
    return queue


def read_all(queue: int) -> list[bytes]:
    got = []
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(os.read(queue, 1 << 17))
    return got


def shown(sent: Sent) -> str:
    offload = (
        f"flags={sent.flags} gso={sent.gso_type}/{sent.gso_size} csum={sent.csum} linear={sent.header_len}"
    )
    return f"{sent.kind} {offload} {len(sent.data)} bytes {sent.data[:120].hex()}"


def place(data: bytes) -> tuple[int, int]:
    """Where the transport's checksum is, as a virtio_net_hdr says it."""
    header, protocol = (20, data[9:10]) if data[0] >> 4 == 4 else (40, data[6:7])
    return header, {bytes((TCP,)): 16, bytes((UDP,)): 6}.get(protocol, 0)


def difference(hook: Hook, sent: Sent, translated: list[bytes], left: list[bytes]) -> str:
    """What is wrong with what became of a packet; empty if nothing is."""
    # no checksum changes under neutral prefixes: the program does not see which are partial, and leaves what is zero
    is_neutral, at = NEUTRAL_SIDE in hook.rules.pairs[0], place(sent.data)
    if len(translated) + len(left) != 1:
        if not translated and not sent.is_simple and left == hook.without(sent):
            return ""
        return f"{len(translated)} translated, {len(left)} left"
    flags, gso, _, size, *csum = struct.unpack_from("=BBHHHH", (translated or left)[0])
    data = (translated or left)[0][10:]
    if left:
        if sent.is_simple and not (is_neutral and not any(sent.data[sum(at) : sum(at) + 2])):
            return "left although it is simple"
        if data != sent.data or (sent.flags, sent.gso_size) != (flags & NEEDS_CSUM, size):
            return "" if left == hook.without(sent) else f"left, but changed: {data[:120].hex()}"
        return ""
    if sent.flags and sent.csum != at:
        return "" if is_neutral else "translated although its partial checksum is not the transport's"
    packet = Packet(sent.data, sent.gso_type, sent.gso_size, bool(sent.flags))
    verdict, expected = translate_packet(hook.rules, packet)
    if verdict != "translated":
        return f"translated, but the translator says {verdict}: {data[:120].hex()}"
    (want,) = expected
    if data != want.data:
        return f"translated to {data[:120].hex()} instead of {want.data[:120].hex()}"
    version = data[0] >> 4
    described = (bool(flags & NEEDS_CSUM), gso, size)
    wanted = (want.needs_csum, VNET_OF[version, want.gso_type] if want.gso_type else 0, want.gso_size)
    if described != wanted:
        bare = hook.without(sent)  # some kernels change tiny segments, or take a small super-packet for none
        real = struct.unpack_from("=H", bare[0], 4)[0] if len(bare) == 1 else None
        if described != (wanted[0], wanted[1] if real else 0, real):
            return f"described as {described} instead of {wanted}"
    if want.needs_csum and csum != list(place(data)):
        return f"its checksum is at {csum}"
    return ""


def run(role: str, packets: int, seed: int) -> Counter:
    """How many of each kind were translated and left. Raises AssertionError with the first packet that differs."""
    hook, maker, seen = Hook(Map([ROLES[role]], MTU6)), Maker(seed, role), Counter()
    try:
        for number in range(packets):
            sent = maker.make()
            try:
                translated, left = hook.through(sent)
            except Refused:
                seen[sent.kind, "refused"] += 1
                continue
            wrong = difference(hook, sent, translated, left)
            assert not wrong, f"{role}, seed {seed}, packet {number}: {wrong}\n{shown(sent)}"
            seen[sent.kind, "translated" if translated else "left" if left else "dropped"] += 1
        fast = sum(count for (_, became), count in seen.items() if became == "translated")
        packets4, _, packets6, _ = hook.count()
        assert packets4 + packets6 >= fast
    finally:
        hook.close()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    for role in ROLES:
        began = time.monotonic()
        try:
            seen = run(role, options.packets // len(ROLES), options.seed)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{role}, seed {options.seed}, {time.monotonic() - began:.0f} s")
        for (kind, became), count in sorted(seen.items()):
            print(f"  {kind:10} {became:10} {count:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
