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

from l3roamd_py.netfilter.nfnetlink import FAMILY_BYTES, SUBSYSTEM_CONNTRACK, NetfilterSocket, message
from l3roamd_py.netfilter.rules import PREFIX_BYTES
from runtime.netlink import (
    CREATE,
    DUMP,
    EXCLUSIVE,
    HEADER_BYTES,
    NESTED,
    attribute,
    attributes,
    find,
    nested,
    unpack_attribute,
    walk,
)
from runtime.netlink_socket import NetlinkError, Skim
from runtime.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    Parts = dict[int, bytes]

ENTRY_NEW, ENTRY_GET, ENTRY_DELETE = 0, 1, 2
ORIGINAL, REPLY, STATUS, PROTOCOL_STATE, NAT_SOURCE, TIMEOUT, MARK, NAT_DESTINATION, ZONE, LABELS = (
    1, 2, 3, 4, 6, 7, 8, 13, 18, 22,
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

# what every kernel begins a tuple with: its addresses (44 bytes, nested), first the source (20 bytes)
HEAD = struct.pack("HHHH", 44, TUPLE_ADDRESSES | NESTED, 20, SOURCE)
SECOND = struct.pack("HH", 20, DESTINATION)
HEAD_AT, SOURCE_AT, PROTOCOL_AT = 4, 12, 44  # the former of an entry, the last of a tuple
PORTS = struct.pack("HH", 6, SOURCE_PORT), struct.pack("HH", 6, DESTINATION_PORT)


@record("parts")
class Entry:
    """An entry of the table: its attributes as the kernel gave them."""

    parts: "Parts"

    def ends(self, direction: int) -> tuple[bytes, bytes, bytes]:
        """Source and destination of a direction, and the attribute of its protocol with the ports."""
        value = self.parts[direction]
        if value[: len(HEAD)] == HEAD and len(value) > PROTOCOL_AT + 4:
            end = PROTOCOL_AT + unpack_attribute(value, PROTOCOL_AT)[0]
            return value[8:24], value[28:44], value[PROTOCOL_AT:end]
        parts = attributes(value)
        addresses = attributes(parts[TUPLE_ADDRESSES])
        return addresses[SOURCE], addresses[DESTINATION], nested(TUPLE_PROTOCOL, parts[TUPLE_PROTOCOL])

    @property
    def status(self) -> int:
        return int.from_bytes(self.parts.get(STATUS, b""), "big")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return message(SUBSYSTEM_CONNTRACK, kind, flags, body, socket.AF_INET6)


def make_tuple(kind: int, source: bytes, destination: bytes, protocol: bytes) -> bytes:
    """protocol: its attribute."""
    return nested(kind, HEAD + source + SECOND + destination, protocol)


def make_protocol(parts: "Parts") -> bytes:
    return nested(TUPLE_PROTOCOL, *[attribute(key, value) for key, value in parts.items()])


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


def create_entry(entry: Entry, source: bytes, plat: bytes = b"", asked: bytes | None = None) -> bytes:
    """The entry with another source, everything else as it is.

    plat: the first 12 bytes of our PLAT's prefix. An entry to it without a NAT of this node is one for Jool, whose
    sessions are by source. It gets a NAT that keeps its old source.
    asked: another destination of the first packet; who answers stays the same.
    """
    _, destination, protocol = entry.ends(ORIGINAL)
    nat = b""
    if asked is not None:
        destination, answering = asked, entry.ends(REPLY)[0]
        if asked != answering:
            nat = nested(NAT_DESTINATION, attribute(NAT_LOWEST, answering), attribute(NAT_HIGHEST, answering))
    body = make_tuple(ORIGINAL, source, destination, protocol)
    body += make_tuple(REPLY, destination, source, turned(protocol)) + nat
    if entry.status & IS_NAT_SOURCE or (plat and destination.startswith(plat)):
        body += _nat_source(entry)
    body += attribute(STATUS, (entry.status & COPIED_STATUS | CONFIRMED).to_bytes(4, "big"))
    for key in (TIMEOUT, MARK, LABELS):
        if key in entry.parts:
            body += attribute(key, entry.parts[key])
    if PROTOCOL_STATE in entry.parts:
        body += _protocol_state(entry.parts[PROTOCOL_STATE])
    return _message(ENTRY_NEW, CREATE | EXCLUSIVE, body + _zone(entry))


def turned(protocol: bytes) -> bytes:
    """The attribute of a direction's protocol with the ports as the other direction has them."""
    if protocol[12:16] == PORTS[0] and protocol[20:24] == PORTS[1]:  # as the kernel writes most
        return protocol[:16] + protocol[24:26] + protocol[18:24] + protocol[16:18] + protocol[26:]
    parts = attributes(protocol, 4)
    if ICMPV6_TYPE in parts:
        kind = parts[ICMPV6_TYPE][0]
        parts[ICMPV6_TYPE] = bytes((OPPOSITE.get(kind, kind),))
    elif SOURCE_PORT in parts:
        parts[SOURCE_PORT], parts[DESTINATION_PORT] = parts[DESTINATION_PORT], parts[SOURCE_PORT]
    return make_protocol(parts)


def _nat_source(entry: Entry) -> bytes:
    _, pool, protocol = entry.ends(REPLY)
    port = find(DESTINATION_PORT, protocol, 4) or find(ICMPV6_ID, protocol, 4)
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
        only = Skim(HEADER_BYTES + FAMILY_BYTES + HEAD_AT, len(HEAD) + 16)
        for received, begin, end in self.netfilter.answers(get_entries(), only):
            answer = received[begin:end]
            if only.keys is None and answer[HEAD_AT:SOURCE_AT] == HEAD and not may_be_destination:
                only.keys = {HEAD + each for each in addresses}  # the kernel writes all of them alike
            source, destination = ends_of(answer)
            if source in addresses or (may_be_destination and destination in addresses):
                yield Entry(attributes(answer))

    def rehome(self, moves: "Mapping[bytes, bytes]", plat: bytes = b"") -> dict[bytes, OSError]:
        """Give all entries of a source another, for each of moves; return what went wrong, by the old source.

        plat: as of create_entry.
        """
        entries: "list[Entry]" = []
        sources: "list[bytes]" = []  # of these entries, the old ones
        messages: "list[bytes]" = []
        for entry in self.entries(moves) if moves else ():
            if not entry.status & IS_NAT_DESTINATION:
                old = entry.ends(ORIGINAL)[0]
                entries.append(entry)
                sources.append(old)
                messages += [delete_entry(entry), create_entry(entry, moves[old], plat)]
        failed = self._replace(entries, messages)
        return {sources[place]: error for place, error in failed.items()}

    def turn(self, clients: "Collection[bytes]", plat: bytes, pref64: bytes | None) -> None:
        """Have what clients have open at this node's PLAT begin with what they send to pref64, None: to the PLAT.

        A client that translates itself sends to pref64 here, and what other nodes make of that elsewhere. It is the
        same connection, so it keeps its NAT. Prefixes: the first 12 bytes.
        """
        entries: "list[Entry]" = []
        messages: "list[bytes]" = []
        for entry in self.entries(clients):
            source, destination, _ = entry.ends(ORIGINAL)
            answering = entry.ends(REPLY)[0]
            asked = answering if pref64 is None else pref64 + answering[PREFIX_BYTES:]
            if answering.startswith(plat) and destination != asked:
                entries.append(entry)
                messages += [delete_entry(entry), create_entry(entry, source, asked=asked)]
        for error in self._replace(entries, messages).values():
            raise error

    def _replace(self, entries: "Sequence[Entry]", messages: "Sequence[bytes]") -> "dict[int, OSError]":
        """Delete entries and make others, two messages for each; return what went wrong, by the entry's place."""
        failed: "dict[int, OSError]" = {}
        errors = self.netfilter.failures(messages)
        obstacles: "list[int]" = []  # places of entries
        again: "list[int]" = []
        for place in sorted({number // 2 for number in errors}):
            deleted, created = errors.get(2 * place), errors.get(2 * place + 1)
            if deleted == errno.ENOENT:  # it ended meanwhile, and was made again for nothing
                if not created:
                    obstacles.append(place)
            elif created == errno.EEXIST:
                # a packet came from the new place before: a gate that did not hold. The older flow wins
                obstacles.append(place)
                again.append(place)
            elif created:
                failed[place] = NetlinkError(created)
        in_the_way = [deletion_of(messages[2 * place + 1]) for place in obstacles]
        for number, code in _but_missing(self.netfilter.failures(in_the_way)).items():
            failed[obstacles[number]] = NetlinkError(code)
        for number, code in self.netfilter.failures([messages[2 * place + 1] for place in again]).items():
            failed[again[number]] = NetlinkError(code)
        return failed

    def _delete(self, entries: "Sequence[Entry]") -> dict[int, int]:
        """Remove entries; return the errno of each that failed, by its place. One that ended meanwhile is as good."""
        return _but_missing(self.netfilter.failures([delete_entry(entry) for entry in entries]))

    def forget(self, clients: "Mapping[bytes, bytes | None]") -> None:
        """Remove the entries of clients, whoever sent the first packet. The values are their PLATs, None: it is lost.

        On a node that is an exit too, those by which it is the exit of such a client stay: they hold its place in the
        pool, and were the server to see another one it would end the connection.
        """
        if clients:
            found = [
                each
                for each in self.entries(clients, may_be_destination=True)
                if not self._is_exit_of(each, clients)
            ]
            for code in self._delete(found).values():
                raise NetlinkError(code)

    def _is_exit_of(self, entry: Entry, clients: "Mapping[bytes, bytes | None]") -> bool:
        if entry.status & (IS_NAT_SOURCE | IS_NAT_DESTINATION) != IS_NAT_SOURCE:
            return False
        source, destination, _ = entry.ends(ORIGINAL)
        plat = clients.get(source)
        return plat is not None and destination.startswith(plat[:PREFIX_BYTES])

    def forget_plat(self, pref64: bytes, plat: bytes) -> None:
        """Remove the entries of what went to pref64 and on to a PLAT. Prefixes: the first 12 bytes."""
        found = []
        for received, begin, end in self.netfilter.answers(get_entries()):
            answer = received[begin:end]
            if ends_of(answer)[1].startswith(pref64):
                entry = Entry(attributes(answer))
                if entry.ends(REPLY)[0].startswith(plat):
                    found.append(entry)
        self._delete(found)


def deletion_of(creation: bytes) -> bytes:
    """What removes the entry that a message would make, or one like it."""
    return delete_entry(Entry(attributes(creation, HEADER_BYTES + FAMILY_BYTES)))


def _but_missing(failed: dict[int, int]) -> dict[int, int]:
    return {place: code for place, code in failed.items() if code != errno.ENOENT}
