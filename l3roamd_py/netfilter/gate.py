# SPDX-License-Identifier: ISC
"""The gate: a client's packets wait until its address is known to be its. Closed for whoever was not let in.

A packet that reaches the platnode before ROAM does opens a second connection there, and the server answers it with a
reset. So what a client device sends to the CLAT device waits in NFQUEUE, by (MAC, IPv4). It goes on in its order when
the gate opens. What is for the node itself (ARP, DHCP, DNS) does not come by.

IPv6 packets from an address that is not known yet wait too, whatever their destination: they may be the only sign of
the address, since the kernel makes no neighbour entry for packets that it forwards. They wait until there is a route
back. At most NEW_PER_S of them a second come here, and the kernel drops the others: a flood of made-up addresses must
not take all of the processor.

This file has what waits. The rules that send packets here are in nft/ruleset.py and xtables/gate.py.

A packet that a rule of iptables sent here goes through all rules of its hook once more when it is released, and an IPv6
packet through those of its chain of nftables. A bit of its mark says that it was here. With ACCEPT it would pass by the
rules that come later, of others or of ours.

Bounds: 256 packets a client (half of what a TUN device queues, for they leave at once), 4096 in all. Over the first
bound the newest packet is dropped, over the second all packets of the client that has waited longest. A packet that has
waited for QUEUED_S is too late to be of use. The kernel's own bound is above ours, so we choose what is dropped.
"""

import errno
import struct

from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.nfqueue import ACCEPT, DROP, POSTROUTING, READS_MAX, PacketQueue, QueuedPacket
from l3roamd_py.netfilter.rules import Arrival, Checks
from l3roamd_py.netfilter.waiting import WaitingRoom
from l3roamd_py.netfilter.wanted import QUEUE_OFFSET, WantedQueue
from runtime.loop import BootClock, Poller
from runtime.netlink import message, text
from runtime.netlink_socket import ROUTE, NetlinkSocket
from runtime.ordered import OldestFirst
from runtime.sockets import EBUSY, error_number
from runtime.sources import Sources
from xlat464.address import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from l3roamd_py.netfilter.rules import Hosts, Prefixes
    from l3roamd_py.netfilter.waiting import Waits
    from l3roamd_py.netfilter.wanted import Asked

    Client = tuple[bytes, bytes]  # MAC and address

MARK = 0x20000000  # the bit
NO_MAC = b""  # where packets leave the node it is known no more
QUEUE = 5523
QUEUED_PER_CLIENT, QUEUED_MAX, KERNEL_MAX = 256, 4096, 6144
QUEUED_S = 4.0  # above what a roam may take, with its retries
NEW_PER_S, NEW_BURST = 250, 250  # packets of IPv6 addresses that are not known


class Gate:
    """Holds packets in NFQUEUE. What lets a client in or refuses it is the backend's (_admit and the like)."""

    def __init__(
        self, client_device: str, clat_device: str, queue: int, clock: "Callable[[], float] | None" = None
    ) -> None:
        self.client_device, self.clat_device, self.queue_number = client_device, clat_device, queue
        self.clock = clock or BootClock().now_s
        self.prefixes: "Prefixes" = ()
        self.room: "WaitingRoom[Client]" = make_room()
        self.queue: PacketQueue | None = None
        self.sources = Sources()
        self.wanted = WantedQueue(queue + QUEUE_OFFSET, self.sources, self.clock)
        self.network: tuple[bytes, int] | None = None  # the clients' of IPv4: our address in it, its length
        self.reached: set[bytes] = set()  # addresses in it that nothing waits for
        self.clat_range: bytes | None = None  # what is translated to the outside of it keeps its destination
        self.pref64: bytes | None = None  # where clients that translate themselves send to,
        self.plat_range = b""  # and any PLAT's /48
        self.own_exit: bytes | None = None  # this node's own PLAT
        self.own: "Hosts | None" = None  # their rules
        self.checks = Checks(self._generation)
        self.arrived: "OldestFirst[Client, None]" = OldestFirst()
        self.count = {"queued": 0, "released": 0, "dropped": 0}
        # by the bytes of an address: the new mark of what comes by the rules once more, which all else does not
        self.new_mark: "dict[int, Callable[[int], int]]" = {}
        self.device_index = 0  # of client_device, as far as we know
        self.notices: list[str] = []  # what others did to our rules; whoever logs them empties this

    def listen(self) -> bool:
        """Bind the queue; False if the kernel has none. Raises OSError EBUSY or EPERM if another process has it."""
        if self.queue is not None:
            return True
        try:
            self.queue = PacketQueue(self.queue_number, KERNEL_MAX)
        except OSError as error:
            if error_number(error) in (EBUSY, errno.EPERM):
                raise
            return False
        self.sources.add(self.queue)
        self.wanted.listen()
        self._drain()  # what came while the queue was made does not make it readable
        return True

    def attend(self, poller: Poller, callback: "Callable[[], object]") -> None:
        """Have the callback called when packets wait, or go_on has something to do; see has_arrived as well."""
        self.sources.attend(poller, callback)

    @property
    def has_arrived(self) -> bool:
        """Whether packets were read already that read_arrivals has not told of."""
        return bool(self.arrived) or self.wanted.has_arrived

    def dissolve(self) -> None:
        """Let everybody go on who waits, then close."""
        with refusal("cannot let go who waits at the gate"):
            self._drain(KERNEL_MAX)
            for client in list(self.room.waiting):
                self._judge(self.room.pop(client), ACCEPT, client[1])
        self.unlisten()

    def unlisten(self) -> None:
        """Let go of the queue; what waits in it is lost."""
        if self.queue is not None:
            self.sources.forget(self.queue)
            self.queue.close()
        self.queue = None
        self.room = make_room()
        self.wanted.close()

    def close(self) -> None:
        """Let go of everything that a process holds, and of nothing in the kernel but what waits."""
        self.unlisten()

    @property
    def can_queue(self) -> bool:
        return self.queue is not None

    def hand_on(self) -> None:
        """Do what must be done before another node is told of clients that left."""

    def go_on(self) -> None:
        """Go on with what was begun. Raises RulesError when something went wrong meanwhile; never waits."""

    def read_arrivals(self) -> list[Arrival]:
        self.go_on()
        with refusal("cannot read what waits at the gate"):
            self._drain()
        arrived, self.arrived = self.arrived, OldestFirst()
        return [Arrival(mac, address) for mac, address in arrived]

    def _drain(self, most: int = READS_MAX) -> None:
        if self.queue is None:
            return
        now_s = self.clock()
        dropped = self.room.pop_late(now_s)
        for packet in self.queue.read(most):
            client = (packet.mac, packet.source)
            if packet.hook == POSTROUTING:
                if not self._is_of_clients(packet):
                    self.queue.judge([packet.number], ACCEPT)
                    continue
                client = (NO_MAC, packet.source)
            else:
                self.arrived[client] = None
            self.count["queued"] += 1
            dropped += self.room.put(client, (packet.number, packet.mark), now_s)
        self._judge(dropped, DROP)

    def _is_of_clients(self, packet: QueuedPacket) -> bool:
        """Whether a packet that leaves by the CLAT device came in by the clients'; kernels before 5.7 do not say."""
        if packet.device and packet.device != self.device_index:
            self.device_index = index_of(self.client_device)
        return packet.device != 0 and packet.device == self.device_index

    def _judge(self, packets: "list[Waits]", code: int, address: bytes = b"") -> None:
        if self.queue is None or not packets:
            return
        self.count["released" if code == ACCEPT else "dropped"] += len(packets)
        if code == ACCEPT and len(address) in self.new_mark:
            new_mark = self.new_mark[len(address)]
            self.queue.repeat([(number, new_mark(mark)) for number, mark in packets])
        else:
            self.queue.judge([number for number, _ in packets], code)

    def _end_wait(self, client: "Client", code: int) -> None:
        self._drain()
        self.arrived.pop(client, None)
        self._judge(self.room.pop(client) + self.room.pop((NO_MAC, client[1])), code, client[1])

    def open_gate(self, mac: bytes, address: bytes) -> None:
        waiting = self.room.waiting
        does_wait = bool(waiting) and ((mac, address) in waiting or (NO_MAC, address) in waiting)
        with refusal("cannot open the gate"):
            # most signs of a client say no more; had the kernel forgotten it, a packet would wait
            if does_wait or not self._is_let_in(mac, address):
                # first what waits: what comes after the gate is open would overtake it; then what came in between
                self._end_wait((mac, address), ACCEPT)
                self._admit(mac, address)
                self._end_wait((mac, address), ACCEPT)
            self.wanted.tell_again(address)

    def close_gate(self, mac: bytes, address: bytes) -> None:
        with refusal("cannot close the gate"):
            self._dismiss(mac, address)

    def refuse(self, mac: bytes, address: bytes) -> None:
        with refusal("cannot refuse a client"):
            self._refuse(mac, address)
            self._end_wait((mac, address), DROP)

    def set_hosts(self, pref64: bytes, plat_range: bytes, own_exit: bytes | None = None) -> None:
        self.pref64, self.plat_range, self.own_exit = pref64, plat_range, own_exit

    @property
    def own_plat_of(self) -> dict[bytes, bytes]:
        return {} if self.own is None else self.own.plat_of

    # Other nodes' clients

    def set_network(self, own: bytes, length: int) -> None:
        """The clients' network, and our address in it: what a client sends to another of it waits."""
        if (own, length) != self.network:
            self.network = own, length
            with refusal("cannot hold what is for other nodes' clients"):
                self._raise_wanted()

    def read_wanted(self) -> "list[Asked]":
        with refusal("cannot read what waits for addresses"):
            return self.wanted.read()

    def pass_wanted(self, address: bytes, is_lasting: bool) -> None:
        with refusal("cannot let packets go to an address"):
            self.wanted.let_go(address)
            if is_lasting and len(address) == 4 and address not in self.reached:
                self._set_reached(address, True)
                self.reached.add(address)
                self.wanted.let_go(address)  # what came in between

    def queue_wanted(self, address: bytes) -> None:
        if address in self.reached:
            self.reached.discard(address)
            with refusal("cannot hold what is for an address"):
                self._set_reached(address, False)

    def refuse_wanted(self, address: bytes) -> bytes:
        """Drop what waits for an address; return the beginning of the newest packet."""
        with refusal("cannot refuse what is for an address"):
            return self.wanted.refuse(address)

    @property
    def seeks_ipv6(self) -> bool:
        raise NotImplementedError

    def _raise_wanted(self) -> None:
        """Make the rules for what is not here."""
        raise NotImplementedError

    def _set_reached(self, address: bytes, is_reached: bool) -> None:
        """Hold nothing for an address, in the kernel, or hold it."""
        raise NotImplementedError

    @property
    def own_reached(self) -> set[bytes]:
        """What of the clients' network is no client's: our address, and the first and the last, which are nobody's."""
        if self.network is None:
            return set()
        own, length = self.network
        first = mask(own, length)
        rest = (1 << 32 - length) - 1
        last = (int.from_bytes(first, "big") | rest).to_bytes(4, "big")
        return {own, first, last}

    def _generation(self) -> int | None:
        """The number of nf_tables' ruleset: iptables may be made of it."""
        raise NotImplementedError

    @property
    def behind(self) -> list[str]:
        """Where rules of others stand before ours, and whose, as sentences."""
        return []

    def counters(self) -> dict[str, int]:
        return self.count | self.wanted.count | {"waiting": self.room.queued}

    def _is_let_in(self, mac: bytes, address: bytes) -> bool:
        """Whether a client passes, as far as we know."""
        raise NotImplementedError

    def _admit(self, mac: bytes, address: bytes) -> None:
        """Let a client pass, in the kernel."""
        raise NotImplementedError

    def _dismiss(self, mac: bytes, address: bytes) -> None:
        """Hold a client from now on, in the kernel."""
        raise NotImplementedError

    def _refuse(self, mac: bytes, address: bytes) -> None:
        """Drop what a client sends, in the kernel."""
        raise NotImplementedError


def make_room() -> "WaitingRoom[Client]":
    return WaitingRoom(QUEUED_PER_CLIENT, QUEUED_MAX, QUEUED_S)


def index_of(device: str) -> int:
    """The number of a device of this network namespace, 0 if there is none of this name (rtnetlink(7), RTM_GETLINK)."""
    asking = NetlinkSocket(ROUTE)
    try:
        for answer in asking.dump(message(18, 0, bytes(16) + text(3, device))):
            return struct.unpack_from("i", answer, 4)[0]
    except OSError:
        pass
    finally:
        asking.close()
    return 0
