# SPDX-License-Identifier: ISC
"""The gate: a client's packets wait until its roam is done. Closed for whoever was not let in.

A packet that reaches the platnode before ROAM does opens a second connection there, and the server answers it with a
reset. So what a client device sends to the CLAT device waits in NFQUEUE, by (MAC, IPv4), and goes on in its order when
the gate opens. What is for the node itself (ARP, DHCP, DNS) does not come by.

  forward -151  from a refused client: dropped; from one that was not let in: marked (one bit, the others stay)
  forward -150  mangle: what is marked goes to NFQUEUE, or on if nobody listens
  forward -149  the mark is taken off again

Where nftables itself has `queue` that is one chain and no mark. Without NFQUEUE the gate drops.

An open gate has no timeout: it would run out below a client that stays for long, and stall it. Nobody opens gates while
the daemon is dead; when it comes again, opened() tells it what it has to close.

Bounds: 64 packets a client, 4096 in all. Over the first the newest is dropped, over the second everything of the client
that has waited longest; and what has waited for HELD_S is too late to be of use. The kernel's own bound is above
ours, so that it is us who choose.
"""

import os
import select
import shutil
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from l3roamd_py import nftables
from l3roamd_py.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    NetlinkError,
    TransactionError,
    is_missing,
    refusal,
)
from l3roamd_py.nfqueue import ACCEPT, DROP, PacketQueue
from l3roamd_py.nftables import (
    FORWARD,
    LINK,
    META_IIF_NAME,
    META_IIF_TYPE,
    META_MARK,
    META_OIF_NAME,
    NETWORK,
    REGISTER_3RD_WORD,
    TYPE_ETHER_IPV4,
    Chain,
    Element,
    Set,
    bitwise,
    compare,
    device,
    load,
    lookup,
    meta,
    set_mark,
)
from l3roamd_py.nftables_table import layout, list_elements, raise_table, remove_table
from l3roamd_py.rules import Held, RulesError

QUEUE = 5523
MARK = 0x20000000
HELD_A_CLIENT, HELD_MAX, KERNEL_MAX = 64, 4096, 6144
HELD_S = 4.0  # above what a roam may take, with its retries
REFUSED_MS = 24 * 3600 * 1000  # then it may knock again
ETHERNET = (1).to_bytes(2, sys.byteorder)

Client = tuple[bytes, bytes]  # MAC and IPv4


@dataclass(slots=True)
class Waiting:
    since_s: float
    packets: deque[int] = field(default_factory=deque)


class WaitingRoom:
    """Which packets wait for whom: the bounds, and no I/O. What is to be dropped is returned."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[Client, Waiting] = OrderedDict()
        self.held = 0

    def put(self, client: Client, packet: int, now_s: float) -> list[int]:
        entry = self.waiting.setdefault(client, Waiting(now_s))
        if len(entry.packets) >= HELD_A_CLIENT:
            return [packet]
        entry.packets.append(packet)
        self.held += 1
        if self.held <= HELD_MAX:
            return []
        return self.take(next(iter(self.waiting)))

    def take(self, client: Client) -> list[int]:
        """All that waits for a client, in its order; it waits no longer."""
        entry = self.waiting.pop(client, None)
        packets = list(entry.packets) if entry else []
        self.held -= len(packets)
        return packets

    def take_late(self, now_s: float) -> list[int]:
        late = []
        while self.waiting:
            client, entry = next(iter(self.waiting.items()))
            if now_s - entry.since_s < HELD_S:
                break
            late += self.take(client)
        return late


class Gate:
    """Holds packets in NFQUEUE. What lets a client in or refuses it is the backend's (_admit and the like)."""

    def __init__(
        self, client_device: str, clat_device: str, queue: int, clock: Callable[[], float] = time.monotonic
    ):
        self.client_device, self.clat_device, self.queue_number = client_device, clat_device, queue
        self.clock = clock
        self.room = WaitingRoom()
        self.queue: PacketQueue | None = None
        self.poll: select.epoll | None = None
        self.arrived: dict[Client, None] = {}
        self.bell = -1  # makes fileno() readable when a packet was read that nobody was told of
        self.count = {"held": 0, "released": 0, "dropped": 0}

    def listen(self) -> None:
        """Bind the queue. Raises OSError; EPERM or EBUSY if another process has it."""
        self.queue = PacketQueue(self.queue_number, KERNEL_MAX)
        self.poll = select.epoll()
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        for descriptor in (self.queue.fileno(), self.bell):
            self.poll.register(descriptor, select.EPOLLIN)

    def close(self) -> None:
        """Let go of everything that a process holds, and of nothing in the kernel but what waits."""
        if self.queue is not None and self.poll is not None:
            self.poll.close()
            os.close(self.bell)
            self.queue.close()
        self.queue = self.poll = None
        self.room = WaitingRoom()

    def fileno(self) -> int:
        return self.poll.fileno() if self.poll else -1

    def read_held(self) -> list[Held]:
        with refusal("cannot read what waits at the gate"):
            self._drain()
        if self.arrived and self.poll:
            os.eventfd_read(self.bell)
        arrived, self.arrived = self.arrived, {}
        return [Held(mac, ipv4) for mac, ipv4 in arrived]

    def _drain(self) -> None:
        if self.queue is None:
            return
        now_s = self.clock()
        dropped = self.room.take_late(now_s)
        for packet in self.queue.read():
            client = (packet.mac, packet.ipv4)
            self.count["held"] += 1
            if not self.arrived:
                os.eventfd_write(self.bell, 1)
            self.arrived[client] = None
            dropped += self.room.put(client, packet.number, now_s)
        self._judge(dropped, DROP)

    def _judge(self, packets: list[int], code: int) -> None:
        if self.queue is not None and packets:
            self.count["released" if code == ACCEPT else "dropped"] += len(packets)
            self.queue.judge(packets, code)

    def _end_wait(self, client: Client, code: int) -> None:
        self._drain()
        self.arrived.pop(client, None)
        self._judge(self.room.take(client), code)

    def open_gate(self, mac: bytes, ipv4: bytes) -> None:
        with refusal("cannot open the gate"):
            # first what waits: what comes after the gate is open would overtake it; then what came in between
            self._end_wait((mac, ipv4), ACCEPT)
            self._admit(mac, ipv4)
            self._end_wait((mac, ipv4), ACCEPT)

    def close_gate(self, mac: bytes, ipv4: bytes) -> None:
        with refusal("cannot close the gate"):
            self._dismiss(mac, ipv4)

    def refuse(self, mac: bytes, ipv4: bytes) -> None:
        with refusal("cannot refuse a client"):
            self._refuse(mac, ipv4)
            self._end_wait((mac, ipv4), DROP)

    def counters(self) -> dict[str, int]:
        return {**self.count, "waiting": self.room.held}

    def _admit(self, mac: bytes, ipv4: bytes) -> None:
        raise NotImplementedError

    def _dismiss(self, mac: bytes, ipv4: bytes) -> None:
        raise NotImplementedError

    def _refuse(self, mac: bytes, ipv4: bytes) -> None:
        raise NotImplementedError


# --- the queue rule of iptables, for marked packets ---------------------------

CHAIN = "L3ROAMD_gate"
LOCK_WAIT_S = "10"


def iptables(*words: str, check: bool = True) -> bool:
    result = subprocess.run(
        ["iptables", "-w", LOCK_WAIT_S, "-t", "mangle", *words], capture_output=True, text=True, timeout=60
    )
    if check and result.returncode:
        raise RulesError(f"iptables {' '.join(words)}: {(result.stderr.splitlines() or ['failed'])[0]}")
    return result.returncode == 0


def raise_chain(rules: Iterable[str]) -> None:
    """See that FORWARD of mangle begins with a chain of ours with these rules; in one go, also over an old one."""
    hook = [] if iptables("-C", "FORWARD", "-j", CHAIN, check=False) else [f"-I FORWARD -j {CHAIN}"]
    text = "\n".join(
        ["*mangle", f":{CHAIN} - [0:0]", *(f"-A {CHAIN} {rule}" for rule in rules), *hook, "COMMIT", ""]
    )
    result = subprocess.run(
        ["iptables-restore", "-w", LOCK_WAIT_S, "-n"], input=text, capture_output=True, text=True, timeout=60
    )
    if result.returncode:
        raise RulesError(f"iptables-restore: {(result.stderr.splitlines() or ['failed'])[0]}")


def remove_chain() -> None:
    if shutil.which("iptables") and iptables("-n", "-L", CHAIN, check=False):
        iptables("-D", "FORWARD", "-j", CHAIN, check=False)
        iptables("-F", CHAIN)
        iptables("-X", CHAIN)


def queue_rule(queue: int) -> str:
    return f"-j NFQUEUE --queue-num {queue} --queue-bypass"


# --- nftables -----------------------------------------------------------------


class NftGate(Gate):
    """The gate as a table of nftables, `ip l3roamd`; with iptables' NFQUEUE where nftables has none."""

    def __init__(self, client_device: str, clat_device: str, queue: int):
        super().__init__(client_device, clat_device, queue)
        self.netfilter = NetfilterSocket()
        self.gate = self._layout("drop")

    def _layout(self, way: str) -> nftables.Table:
        chains = [Chain("gate", FORWARD, -151), Chain("unmark", FORWARD, -149)]
        sets = [
            Set("open", TYPE_ETHER_IPV4, 12, has_timeout=False),
            Set("refused", TYPE_ETHER_IPV4, 12),
        ]
        return layout(nftables.IPV4, "l3roamd", chains, sets, way)

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            if self.queue is None:
                self.listen()
            way = "queue" if has_nft_queue(self.netfilter) else "mark" if shutil.which("iptables") else "drop"
            if way == "mark":
                mark = f"{MARK:#x}/{MARK:#x}"
                devices = f"-i {self.client_device} -o {self.clat_device}"
                raise_chain([f"{devices} -m mark --mark {mark} {queue_rule(self.queue_number)}"])
            self.gate = self._layout(way)
            raise_table(
                self.netfilter, self.gate, lambda name: None, lambda names: list(self._gate_rules(way))
            )
            if way == "drop":
                Gate.close(self)

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            remove_table(self.netfilter, nftables.IPV4, "l3roamd")
            self._drain()
            for client in list(self.room.waiting):
                self._judge(self.room.take(client), ACCEPT)
            remove_chain()
        super().close()

    def close(self) -> None:
        super().close()
        self.netfilter.close()

    def _gate_rules(self, way: str) -> Iterator[bytes]:
        passing = device(META_IIF_NAME, self.client_device) + device(META_OIF_NAME, self.clat_device)
        client = meta(META_IIF_TYPE) + compare(ETHERNET)
        client += load(LINK, 6, 6) + load(NETWORK, 12, 4, REGISTER_3RD_WORD)
        mark = MARK.to_bytes(4, sys.byteorder)
        keep = (MARK ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)
        closed = {
            "queue": nftables.queue(self.queue_number),
            "mark": meta(META_MARK) + bitwise(keep, mark) + set_mark(),
            "drop": nftables.verdict(nftables.DROP),
        }[way]
        yield nftables.add_rule(
            self.gate, "gate", passing, client, lookup("refused"), nftables.verdict(nftables.DROP)
        )
        yield nftables.add_rule(self.gate, "gate", passing, client, lookup("open", invert=True), closed)
        if way == "mark":
            unmark = meta(META_MARK) + bitwise(keep, bytes(4)) + set_mark()
            yield nftables.add_rule(self.gate, "unmark", passing, unmark)

    def _admit(self, mac: bytes, ipv4: bytes) -> None:
        self._change(self._add("open", mac, ipv4), remove=("refused",), key=key_of(mac, ipv4))

    def _dismiss(self, mac: bytes, ipv4: bytes) -> None:
        self._change(None, remove=("open",), key=key_of(mac, ipv4))

    def _refuse(self, mac: bytes, ipv4: bytes) -> None:
        self._change(self._add("refused", mac, ipv4), remove=("open",), key=key_of(mac, ipv4))

    def _add(self, name: str, mac: bytes, ipv4: bytes) -> bytes:
        element = Element(key_of(mac, ipv4), expires_ms=REFUSED_MS if name == "refused" else None)
        return nftables.add_elements(self.gate.family, self.gate.name, name, element, exclusive=False)

    def _change(self, addition: bytes | None, remove: tuple[str, ...], key: bytes) -> None:
        messages = [nftables.delete_elements(self.gate.family, self.gate.name, name, key) for name in remove]
        messages += [addition] if addition else []
        try:
            self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)
        except TransactionError as error:
            if not is_missing(error):
                raise
            if addition:
                self.netfilter.commit(SUBSYSTEM_NFTABLES, [addition])

    def opened(self) -> set[Client]:
        with refusal("cannot read who was let in"):
            return {(each.key[:6], each.key[8:]) for each in list_elements(self.netfilter, self.gate, "open")}


def key_of(mac: bytes, ipv4: bytes) -> bytes:
    """The concatenation of a MAC, padded to a word's end, and an IPv4 address."""
    return mac + b"\0\0" + ipv4


def has_nft_queue(netfilter: NetfilterSocket) -> bool:
    """Whether nftables can queue packets; asks the kernel, which takes it back."""
    table = layout(nftables.IPV4, "l3roamd_probe", [Chain("probe", FORWARD, 0)], [])
    try:
        rule = nftables.add_rule(table, "probe", nftables.queue(1))
        netfilter.commit(SUBSYSTEM_NFTABLES, [*nftables.add_table(table), rule], check_only=True)
    except NetlinkError:
        return False
    return True
