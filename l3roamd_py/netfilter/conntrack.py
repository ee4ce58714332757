# SPDX-License-Identifier: ISC
"""Connection tracking over netlink: entries of a client found, removed, and given another source.

An entry cannot be changed in place. It is deleted and made again with the client's new source, and the same NAT, ports,
state, status and time left. What of it need not be understood is copied as it came: ports and identifiers of every
protocol alike. A TCP's windows are not told to us, so the new entry does not check them.

A packet of the server that comes between the two (some 50 microseconds) is lost, and sent again by its sender. The
client's own packets wait at the gate.
"""

import errno
import socket
import struct

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_CONNTRACK, NetfilterSocket, message
from runtime.netlink import CREATE, DUMP, EXCLUSIVE, NESTED, attribute, attributes, nested, walk
from runtime.netlink_socket import NetlinkError
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    Parts = dict[int, bytes]

ENTRY_NEW, ENTRY_GET, ENTRY_DELETE = 0, 1, 2
ORIGINAL, REPLY, STATUS, PROTOCOL_STATE, NAT_SOURCE, TIMEOUT, MARK, ZONE, LABELS = (
    1, 2, 3, 4, 6, 7, 8, 18, 22,
)  # fmt: skip
TUPLE_ADDRESSES, TUPLE_PROTOCOL = 1, 2
SOURCE, DESTINATION = 3, 4  # IPv6 addresses of a tuple
NUMBER, SOURCE_PORT, DESTINATION_PORT, ICMPV6_ID, ICMPV6_TYPE = 1, 2, 3, 7, 8
NAT_LOWEST, NAT_HIGHEST, NAT_PORTS = 4, 5, 3
TCP_STATE, TCP_FLAGS = 1, (4, 5)
LIBERAL = 0x08
SEEN_REPLY, ASSURED, FIXED_TIMEOUT, IS_NAT_DESTINATION, IS_NAT_SOURCE = (
    1 << 1,
    1 << 2,
    1 << 10,
    1 << 5,
    1 << 4,
)
COPIED_STATUS = SEEN_REPLY | ASSURED | FIXED_TIMEOUT
CONFIRMED = 1 << 3  # what is made over netlink is at once
OPPOSITE = {128: 129, 129: 128, 139: 140, 140: 139}  # ICMPv6 requests and their answers

# what every kernel begins an entry with: its tuple's addresses (44 bytes, nested), first the source (20 bytes)
HEAD = struct.pack("HHHH", 44, TUPLE_ADDRESSES | NESTED, 20, SOURCE)
HEAD_AT, SOURCE_AT = 4, 12


@record("parts")
class Entry:
    """An entry of the table: its attributes as the kernel gave them, and the addresses of both directions."""

    parts: "Parts"

    def address(self, direction: int, which: int) -> bytes:
        return attributes(attributes(self.parts[direction])[TUPLE_ADDRESSES])[which]

    def protocol(self, direction: int) -> "Parts":
        return attributes(attributes(self.parts[direction])[TUPLE_PROTOCOL])

    @property
    def status(self) -> int:
        return int.from_bytes(self.parts.get(STATUS, b""), "big")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return message(SUBSYSTEM_CONNTRACK, kind, flags, body, socket.AF_INET6)


def _tuple(kind: int, source: bytes, destination: bytes, protocol: "Parts") -> bytes:
    addresses = nested(TUPLE_ADDRESSES, attribute(SOURCE, source), attribute(DESTINATION, destination))
    parts = [attribute(key, value) for key, value in protocol.items()]
    return nested(kind, addresses, nested(TUPLE_PROTOCOL, *parts))


def get_entries() -> bytes:
    """All entries of IPv6.

    The kernel's own filter is no help. By addresses (CTA_FILTER, since 5.8) it has the wrong sense for IPv6: it gives
    all but what was asked for (ctnetlink_filter_match_tuple, so in 6.18 still). By mark or zone (since 6.8) it would
    be right, but neither is ours to give away.
    """
    return _message(ENTRY_GET, DUMP, b"")


def delete_entry(entry: Entry) -> bytes:
    original = attribute(ORIGINAL | 0x8000, entry.parts[ORIGINAL])
    return _message(ENTRY_DELETE, 0, original + _zone(entry))


def create_entry(entry: Entry, source: bytes, plat: bytes = b"") -> bytes:
    """The entry with another source, everything else as it is.

    plat: the first 12 bytes of our PLAT's prefix. An entry to it without a NAT of this node is one for Jool, whose
    sessions are by source. It gets a NAT that keeps its old source.
    """
    protocol = entry.protocol(ORIGINAL)
    destination = entry.address(ORIGINAL, DESTINATION)
    body = _tuple(ORIGINAL, source, destination, protocol)
    body += _tuple(REPLY, destination, source, turned(protocol))
    if entry.status & IS_NAT_SOURCE or (plat and destination.startswith(plat)):
        body += _nat_source(entry)
    body += attribute(STATUS, (entry.status & COPIED_STATUS | CONFIRMED).to_bytes(4, "big"))
    for key in (TIMEOUT, MARK, LABELS):
        if key in entry.parts:
            body += attribute(key, entry.parts[key])
    if PROTOCOL_STATE in entry.parts:
        body += _protocol_state(entry.parts[PROTOCOL_STATE])
    return _message(ENTRY_NEW, CREATE | EXCLUSIVE, body + _zone(entry))


def turned(protocol: "Parts") -> "Parts":
    """A direction's ports as the other direction has them."""
    if ICMPV6_TYPE in protocol:
        kind = protocol[ICMPV6_TYPE][0]
        return protocol | {ICMPV6_TYPE: bytes((OPPOSITE.get(kind, kind),))}
    if SOURCE_PORT in protocol:
        return protocol | {SOURCE_PORT: protocol[DESTINATION_PORT], DESTINATION_PORT: protocol[SOURCE_PORT]}
    return protocol


def _nat_source(entry: Entry) -> bytes:
    pool, protocol = entry.address(REPLY, DESTINATION), entry.protocol(REPLY)
    port = protocol.get(DESTINATION_PORT, protocol.get(ICMPV6_ID))
    ports = [nested(NAT_PORTS, attribute(1, port), attribute(2, port))] if port else []
    return nested(NAT_SOURCE, attribute(NAT_LOWEST, pool), attribute(NAT_HIGHEST, pool), *ports)


def _protocol_state(value: bytes) -> bytes:
    """TCP's state with its window scales, and liberal; another protocol's as it is."""
    states = []
    for kind, state in walk(value):
        if kind != TCP_STATE:
            states.append(attribute(kind | 0x8000, state))
            continue
        parts = attributes(state)
        for key in TCP_FLAGS:
            parts[key] = bytes((parts.get(key, b"\0")[0] | LIBERAL, 0xFF))
        states.append(nested(kind, *[attribute(key, part) for key, part in parts.items()]))
    return nested(PROTOCOL_STATE, *states)


def _zone(entry: Entry) -> bytes:
    return attribute(ZONE, entry.parts[ZONE]) if ZONE in entry.parts else b""


def ends_of(answer: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an entry's first packet."""
    if answer[HEAD_AT:SOURCE_AT] == HEAD:
        return answer[SOURCE_AT : SOURCE_AT + 16], answer[SOURCE_AT + 20 : SOURCE_AT + 36]
    addresses = attributes(attributes(attributes(answer).get(ORIGINAL, b"")).get(TUPLE_ADDRESSES, b""))
    return addresses.get(SOURCE, b""), addresses.get(DESTINATION, b"")


class Conntrack:
    """The table of this network namespace, IPv6 only. Raises OSError from everything.

    To find a client's entries all entries are read. The kernel walks the whole hash table (10 ms for the 262,144
    buckets of a large machine, with no entry in it) and writes down each entry (2 us). So callers ask for many clients
    at once.
    """

    def __init__(self) -> None:
        self.netfilter = NetfilterSocket()

    def close(self) -> None:
        self.netfilter.close()

    def entries(self, addresses: "Collection[bytes]", may_be_destination: bool = False) -> "Iterator[Entry]":
        """Entries whose first packet came from one of these addresses, or went to one."""
        # most entries are none of ours, and there may be 200,000
        usual = {HEAD + each for each in addresses}
        is_usual = None  # whether entries begin so; the kernel writes all of them alike
        for received, begin, end in self.netfilter.answers(get_entries()):
            if is_usual is None:
                is_usual = received[begin + HEAD_AT : begin + SOURCE_AT] == HEAD and not may_be_destination
            if is_usual and received[begin + HEAD_AT : begin + SOURCE_AT + 16] not in usual:
                continue
            answer = received[begin:end]
            source, destination = ends_of(answer)
            if source in addresses or (may_be_destination and destination in addresses):
                yield Entry(attributes(answer))

    def rehome(self, moves: "Mapping[bytes, bytes]", plat: bytes = b"") -> dict[bytes, OSError]:
        """Give all entries of a source another, for each of moves; return what went wrong, by the old source.

        plat: as of create_entry.
        """
        found: dict[bytes, list[Entry]] = {}
        for entry in self.entries(moves) if moves else ():
            if not entry.status & IS_NAT_DESTINATION:
                found.setdefault(entry.address(ORIGINAL, SOURCE), []).append(entry)
        failed = {}
        for old, entries in found.items():
            try:
                self._replace(entries, moves[old], plat)
            except OSError as error:
                failed[old] = error
        return failed

    def _replace(self, entries: "Sequence[Entry]", source: bytes, plat: bytes) -> None:
        messages: list[bytes] = []
        for entry in entries:
            messages += [delete_entry(entry), create_entry(entry, source, plat)]
        errors = self.netfilter.failures(messages)
        obstacles: list[Entry] = []
        again: list[bytes] = []
        for place, entry in enumerate(entries):
            deleted, created = errors.get(2 * place), errors.get(2 * place + 1)
            if deleted == errno.ENOENT:  # it ended meanwhile, and was made again for nothing
                if not created:
                    obstacles.append(with_source(entry, source))
            elif created == errno.EEXIST:
                # a packet came from the new place before: a gate that did not hold. The older flow wins
                obstacles.append(with_source(entry, source))
                again.append(messages[2 * place + 1])
            elif created:
                raise NetlinkError(created)
        self._delete(obstacles)
        self.netfilter.ask(*again)

    def _delete(self, entries: "Sequence[Entry]") -> None:
        """Remove entries; one that ended meanwhile is as good."""
        failed = self.netfilter.failures([delete_entry(entry) for entry in entries])
        for code in failed.values():
            if code != errno.ENOENT:
                raise NetlinkError(code)

    def forget(self, clients: "Collection[bytes]") -> None:
        """Remove all entries of clients, whoever sent the first packet."""
        if clients:
            self._delete(list(self.entries(set(clients), may_be_destination=True)))


def with_source(entry: Entry, source: bytes) -> Entry:
    made = _tuple(ORIGINAL, source, entry.address(ORIGINAL, DESTINATION), entry.protocol(ORIGINAL))
    return Entry(entry.parts | {ORIGINAL: attributes(made)[ORIGINAL]})
