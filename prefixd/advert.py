# SPDX-License-Identifier: ISC
"""Router advertisements for hosts with a CLAT of their own: PREF64, a DNS server, the link's MTU. No I/O, no clock.

A node has a daemon for router advertisements already (uradvd, odhcpd, radvd), and none of these takes PREF64 back when
the exit is gone. So ours are sent beside that daemon's, one behind each. A router may spread its options over several
advertisements (RFC 4861 section 6.2.3), and a host keeps what each has told it (section 6.3.4). What is not an option
must be the same in all of them, the router lifetime above all. So it is copied from the last one that left the device,
with the addresses. Before one has left, ours are not sent.

An exit that dies again and again is withdrawn later each time (Patience): hosts that drop their CLAT end what they have
open, and have handed their IPv4 address back. Meanwhile the node tells them at once that there is no way.

Until it is known whether there is an exit nothing is announced. After that PREF64 has a lifetime, or lifetime 0 while
there is no exit. That is so without having seen one too: a prefixd before this one may have announced it.
"""

import struct

from runtime.packets import ICMPV6, icmpv6_checksum
from xlat464.rfc6052 import embed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADVERTISEMENT, HOP_LIMIT, ETH_P_IPV6 = 134, 255, 0x86DD
MTU, RDNSS, PREF64 = 5, 25, 38  # options: RFC 4861 section 4.6.4, RFC 8106 section 5.1, RFC 8781 section 4
LIFETIME_S = 1800  # three times what a router lets pass between advertisements (RFC 4861, MaxRtrAdvInterval)
PERIOD_MS = 600000
APART_MS = 3000  # between two to all hosts: RFC 4861, MIN_DELAY_BETWEEN_RAS
BURST, BURST_MS = (
    3,
    4000,
)  # after a change, for on Wi-Fi what is for all may be lost (section 6.2.4 allows three)
FINAL = 2  # before we end
SOLICIT_MS, SOLICITS, LATER_MS = 4000, 3, 60000  # RFC 4861, RTR_SOLICITATION_INTERVAL; then now and then
ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
ALL_NODES_MAC = b"\x33\x33\x00\x00\x00\x01"
PATIENCE_MS, PATIENCE_MAX_MS = 10000, 80000
SHORT_MS, CALM_MS = (
    60000,
    600000,
)  # an exit that is back so soon may flap, and one that stays so long does no more
OTHERS_MAX = 8  # routers of others that are remembered
BEHIND_MAX = 8  # of one round; to whom else one went, the next to all hosts tells

ETHERNET, IPV6, FIXED = (
    14,
    40,
    16,
)  # bytes: of an Ethernet and an IPv6 header, of an advertisement before its options
ICMP = ETHERNET + IPV6
SOURCE = ETHERNET + 8  # where it begins


class Heard:
    """An advertisement as it left this device: what comes before its options, and which options these are.

    frame: Ethernet header, IPv6 header, RFC 4861 section 4.2. Raises ValueError for anything else.
    """

    def __init__(self, frame: bytes) -> None:
        if len(frame) < ICMP + FIXED or frame[12:14] != b"\x86\xdd" or frame[ICMP : ICMP + 2] != b"\x86\x00":
            raise ValueError("no router advertisement")
        self.source_mac, self.mac = frame[6:12], frame[:6]
        self.source, self.destination = frame[SOURCE : SOURCE + 16], frame[SOURCE + 16 : ICMP]
        self.fixed = frame[
            ICMP + 4 : ICMP + FIXED
        ]  # hop limit, flags, router lifetime, reachable and retrans timers
        self.lifetime_s = self.fixed[2] << 8 | self.fixed[3]
        self.options = []
        self.mtu = 0  # of the link, where it says one
        end = min(len(frame), ICMP + (frame[ETHERNET + 4] << 8 | frame[ETHERNET + 5]))
        at = ICMP + FIXED
        while at + 8 <= end and frame[at + 1]:  # one of length 0 makes it all invalid: RFC 4861 section 6.1.2
            self.options.append(frame[at])
            if frame[at] == MTU:
                self.mtu = struct.unpack("!I", frame[at + 4 : at + 8])[0]
            at += 8 * frame[at + 1]


def pref64_option(prefix: bytes, lifetime_s: int) -> bytes:
    """RFC 8781 section 4: type, length, 13 bits of lifetime in units of 8 s, 3 bits that say /96, 96 bits of prefix."""
    return struct.pack("!BBH", PREF64, 2, (lifetime_s + 7) // 8 << 3) + prefix[:12]


def rdnss_option(servers: "Sequence[bytes]", lifetime_s: int) -> bytes:
    """RFC 8106 section 5.1: type, length, 16 bits of nothing, lifetime, addresses."""
    return struct.pack("!BBHI", RDNSS, 1 + 2 * len(servers), 0, lifetime_s) + b"".join(servers)


def mtu_option(mtu: int) -> bytes:
    """RFC 4861 section 4.6.4: type, length, 16 bits of nothing, MTU."""
    return struct.pack("!BBHI", MTU, 1, 0, mtu)


def build(heard: Heard, mac: bytes, destination: bytes, options: bytes) -> bytes:
    """Return the frame of an advertisement with these options that is otherwise as the one that was heard."""
    message = struct.pack("!BBH", ADVERTISEMENT, 0, 0) + heard.fixed + options
    sent = message[:2] + struct.pack("!H", icmpv6_checksum(heard.source + destination, message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(sent), ICMPV6, HOP_LIMIT) + heard.source + destination
    return mac + heard.source_mac + struct.pack("!H", ETH_P_IPV6) + header + sent


class Patience:
    """How long an exit may be away before hosts are told: no time at all, until it was back soon after that once.

    Then PATIENCE_MS, and twice as long each time, up to PATIENCE_MAX_MS; CALM_MS without an end, and it is forgotten.
    """

    def __init__(self) -> None:
        self._wait_ms = 0
        self._gone_ms: "int | None" = None
        self._back_ms = 0
        self._was_there = False

    def judge(self, is_there: bool, now_ms: int) -> bool:
        """Return what hosts are to be told."""
        gone_ms = self._gone_ms
        if is_there:
            if gone_ms is not None and self._was_there:
                is_short = now_ms - gone_ms < SHORT_MS
                longer_ms = min(2 * self._wait_ms or PATIENCE_MS, PATIENCE_MAX_MS)
                self._wait_ms, self._back_ms = longer_ms if is_short else self._wait_ms, now_ms
            self._gone_ms, self._was_there = None, True
            return True
        if gone_ms is None:
            gone_ms = self._gone_ms = now_ms
            if now_ms - self._back_ms >= CALM_MS:
                self._wait_ms = 0
        return self._was_there and now_ms - gone_ms < self._wait_ms


class Advertiser:
    """What is to be sent, and when.

    pref64  16 bytes of a /96
    dns     servers that hosts ask, where the node's daemon names none: 16 bytes, 4 of IPv4, or none for this node
    mtu     of the link, where that daemon says none, or more; 0: ours says none
    told    None until it is known, then whether there is an exit
    others  addresses of routers that are not this node
    """

    def __init__(self, pref64: bytes, dns: "Sequence[bytes]" = (), mtu: int = 0) -> None:
        self.pref64 = pref64
        self.dns = [embed(pref64, 96, server) if len(server) == 4 else server for server in dns]
        self.mtu = mtu
        self.told: "bool | None" = None
        self.others: "list[bytes]" = []
        self.heard: "Heard | None" = None
        self.sent = 0
        self._heard_ms = 0
        self._all_ms: "int | None" = None  # when one went to all hosts, the daemon's or ours
        self._burst = 0
        self._next_ms = 0
        self._behind: "dict[bytes, Heard]" = {}  # destination -> one that ours has to follow
        self._solicits = 0
        self._solicit_ms = 0

    def tell(self, is_there: bool, now_ms: int) -> None:
        """There is an exit, or there is none."""
        if is_there == self.told:
            return
        self.told = is_there
        self._burst = BURST
        self._next_ms = now_ms if self._all_ms is None else max(now_ms, self._all_ms + APART_MS)

    def is_withdrawn(self, now_ms: int) -> bool:
        """Whether hosts have been told twice that there is no exit, or nobody can tell them."""
        return not self._is_known(now_ms) or (self.told is False and self._burst <= BURST - FINAL)

    def hear(self, frame: bytes, is_ours: bool, now_ms: int) -> bool:
        """Take an advertisement that left this device, or came in; return whether it is of a router not seen yet."""
        if not is_ours and (len(self.others) == OTHERS_MAX or frame[SOURCE : SOURCE + 16] in self.others):
            return False  # unparsed: clients can send any number of them, with many options each
        try:
            heard = Heard(frame)
        except ValueError:
            return False
        if not is_ours:
            self.others.append(heard.source)
            return True
        self.heard, self._heard_ms, self._solicits = heard, now_ms, 0
        if heard.destination == ALL_NODES:
            self._all_ms = now_ms
        if self.told is not None and len(self._behind) < BEHIND_MAX:
            self._behind[heard.destination] = heard
        return False

    def _is_known(self, now_ms: int) -> bool:
        """Whether what was heard still holds: not longer than it makes this node a router."""
        if self.heard is None:
            return False
        return now_ms - self._heard_ms < 1000 * (self.heard.lifetime_s or LIFETIME_S)

    def pop_due(self, now_ms: int) -> "Iterator[bytes]":
        """Yield the frames to send now."""
        behind, self._behind = self._behind, {}
        heard = self.heard
        if self.told is None or heard is None or not self._is_known(now_ms):
            return
        for each in behind.values():
            yield self._build(each, each.mac, each.destination, now_ms)
        if now_ms >= self._next_ms:
            yield self._build(heard, ALL_NODES_MAC, ALL_NODES, now_ms)

    def _build(self, heard: Heard, mac: bytes, destination: bytes, now_ms: int) -> bytes:
        if destination == ALL_NODES:
            self._note_sent_to_all(now_ms)
        self.sent += 1
        return build(heard, mac, destination, self._options(heard))

    def _note_sent_to_all(self, now_ms: int) -> None:
        self._all_ms = now_ms
        if self._burst:
            self._burst -= 1
        self._next_ms = now_ms + (BURST_MS if self._burst else PERIOD_MS)

    def _options(self, heard: Heard) -> bytes:
        options = pref64_option(self.pref64, LIFETIME_S if self.told else 0)
        if self.dns and RDNSS not in heard.options:
            options += rdnss_option([server or heard.source for server in self.dns], LIFETIME_S)
        if (
            self.mtu and not 0 < heard.mtu <= self.mtu
        ):  # odhcpd says the device's: hosts go by what comes last
            options += mtu_option(self.mtu)
        return options

    def pop_solicit(self, now_ms: int) -> bool:
        """Whether to ask this node's own daemon for an advertisement now."""
        if self._is_known(now_ms) or now_ms < self._solicit_ms:
            return False
        self._solicits += 1
        self._solicit_ms = now_ms + (SOLICIT_MS if self._solicits < SOLICITS else LATER_MS)
        return True

    def deadline_ms(self, now_ms: int) -> int:
        """Return when something is due at the latest."""
        if not self._is_known(now_ms):
            return self._solicit_ms
        if self._behind:
            return now_ms
        return self._next_ms if self.told is not None else self._heard_ms + 1000 * LIFETIME_S
