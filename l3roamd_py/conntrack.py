# SPDX-License-Identifier: ISC
"""Connection tracking over netlink: entries of a client found, removed, and given another source.

An entry cannot be changed where it stands: it is deleted and made again with the client's new source, the same
NAT, ports, state, status and time left. What of it need not be understood is copied as it came: ports and
identifiers of every protocol alike. A TCP's windows are not told to us, so the new entry does not check them.

A packet of the server that comes between the two (some 50 microseconds) is lost, and sent again by its sender; the
client's own wait at the gate.
"""

import errno
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from l3roamd_py.nfnetlink import (
    ACK,
    CREATE,
    DUMP,
    EXCLUSIVE,
    SUBSYSTEM_CONNTRACK,
    NetfilterSocket,
    attribute,
    attributes,
    message,
    nested,
    number,
    walk,
)

ENTRY_NEW, ENTRY_GET, ENTRY_DELETE = 0, 1, 2
ORIGINAL, REPLY, STATUS, PROTOCOL_STATE, NAT_SOURCE, TIMEOUT, MARK, ZONE, LABELS, FILTER = (
    1, 2, 3, 4, 6, 7, 8, 18, 22, 25,
)  # fmt: skip
TUPLE_ADDRESSES, TUPLE_PROTOCOL = 1, 2
SOURCE, DESTINATION = 3, 4  # IPv6 addresses of a tuple
NUMBER, SOURCE_PORT, DESTINATION_PORT, ICMPV6_ID, ICMPV6_TYPE, ICMPV6_CODE = 1, 2, 3, 7, 8, 9
NAT_LOWEST, NAT_HIGHEST, NAT_PORTS = 4, 5, 3
TCP_STATE, TCP_FLAGS = 1, (4, 5)
LIBERAL = 0x08
BY_SOURCE, BY_DESTINATION = 1 << 0, 1 << 1
SEEN_REPLY, ASSURED, FIXED_TIMEOUT, IS_NAT_DESTINATION, IS_NAT_SOURCE = (
    1 << 1,
    1 << 2,
    1 << 10,
    1 << 5,
    1 << 4,
)
KEPT_STATUS = SEEN_REPLY | ASSURED | FIXED_TIMEOUT
OPPOSITE = {128: 129, 129: 128, 139: 140, 140: 139}  # ICMPv6 requests and their answers

Parts = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the table: its attributes as the kernel gave them, and the addresses of both directions."""

    parts: Parts

    def address(self, direction: int, which: int) -> bytes:
        return attributes(attributes(self.parts[direction])[TUPLE_ADDRESSES])[which]

    def protocol(self, direction: int) -> Parts:
        return attributes(attributes(self.parts[direction])[TUPLE_PROTOCOL])

    @property
    def status(self) -> int:
        return int.from_bytes(self.parts.get(STATUS, b""), "big")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return message(SUBSYSTEM_CONNTRACK, kind, flags, body, socket.AF_INET6)


def _tuple(kind: int, source: bytes, destination: bytes, protocol: Parts) -> bytes:
    addresses = nested(TUPLE_ADDRESSES, attribute(SOURCE, source), attribute(DESTINATION, destination))
    parts = (attribute(key, value) for key, value in protocol.items())
    return nested(kind, addresses, nested(TUPLE_PROTOCOL, *parts))


def get_entries(address: bytes, which: int = SOURCE) -> bytes:
    """All entries whose first packet came from (or went to) an address. Kernels before 5.8 answer with all."""
    by = BY_SOURCE if which == SOURCE else BY_DESTINATION
    body = nested(FILTER, attribute(1, by.to_bytes(4, sys.byteorder)), attribute(2, bytes(4)))
    body += nested(ORIGINAL, nested(TUPLE_ADDRESSES, attribute(which, address)))
    return _message(ENTRY_GET, DUMP, body)


def delete_entry(entry: Entry) -> bytes:
    original = attribute(ORIGINAL | 0x8000, entry.parts[ORIGINAL])
    return _message(ENTRY_DELETE, ACK, original + _zone(entry))


def create_entry(entry: Entry, source: bytes) -> bytes:
    """The entry with another source, everything else as it is."""
    protocol = entry.protocol(ORIGINAL)
    destination = entry.address(ORIGINAL, DESTINATION)
    body = _tuple(ORIGINAL, source, destination, protocol)
    body += _tuple(REPLY, destination, source, turned(protocol))
    if entry.status & IS_NAT_SOURCE:
        body += _nat_source(entry)
    body += attribute(STATUS, (entry.status & KEPT_STATUS).to_bytes(4, "big"))
    for key in (TIMEOUT, MARK, LABELS):
        if key in entry.parts:
            body += attribute(key, entry.parts[key])
    if PROTOCOL_STATE in entry.parts:
        body += _protocol_state(entry.parts[PROTOCOL_STATE])
    return _message(ENTRY_NEW, ACK | CREATE | EXCLUSIVE, body + _zone(entry))


def turned(protocol: Parts) -> Parts:
    """A direction's ports as the other direction has them."""
    if ICMPV6_TYPE in protocol:
        kind = protocol[ICMPV6_TYPE][0]
        return {**protocol, ICMPV6_TYPE: bytes((OPPOSITE.get(kind, kind),))}
    if SOURCE_PORT in protocol:
        return {**protocol, SOURCE_PORT: protocol[DESTINATION_PORT], DESTINATION_PORT: protocol[SOURCE_PORT]}
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
        states.append(nested(kind, *(attribute(key, part) for key, part in parts.items())))
    return nested(PROTOCOL_STATE, *states)


def _zone(entry: Entry) -> bytes:
    return attribute(ZONE, entry.parts[ZONE]) if ZONE in entry.parts else b""


class Conntrack:
    """The table of this network namespace, IPv6 only. Raises OSError from everything."""

    def __init__(self) -> None:
        self.netfilter = NetfilterSocket()

    def close(self) -> None:
        self.netfilter.close()

    def entries(self, address: bytes, which: int = SOURCE) -> Iterator[Entry]:
        for answer in self.netfilter.dump(get_entries(address, which)):
            entry = Entry(attributes(answer))
            if entry.address(ORIGINAL, which) == address:
                yield entry

    def rehome(self, old: bytes, new: bytes) -> int:
        """Give all entries of one source another; return how many there were."""
        entries = [entry for entry in self.entries(old) if not entry.status & IS_NAT_DESTINATION]
        if entries:
            self._replace(entries, new)
        return len(entries)

    def _replace(self, entries: Iterable[Entry], source: bytes) -> None:
        messages: list[bytes] = []
        made: list[tuple[int, Entry]] = []
        for entry in entries:
            made.append((len(messages) + 1, entry))
            messages += [delete_entry(entry), create_entry(entry, source)]
        self.netfilter.send(number(messages))
        errors = self.netfilter.errors()
        for place, entry in made:
            # a packet came to the new place's entry before: a gate that did not hold. The older flow wins
            if errors.get(place) == errno.EEXIST:
                wrong = Entry({**entry.parts, ORIGINAL: _original(entry, source)})
                self.netfilter.ask(delete_entry(wrong))
                self.netfilter.ask(messages[place])
            elif errors.get(place) and errors.get(place - 1) != errno.ENOENT:
                raise OSError(errors[place], "conntrack does not take an entry")

    def forget(self, client: bytes) -> None:
        """Remove all entries of a client, whoever sent the first packet."""
        for which in (SOURCE, DESTINATION):
            for entry in self.entries(client, which):
                self.netfilter.send(number([delete_entry(entry)]))
                self.netfilter.errors()  # it may have ended meanwhile


def _original(entry: Entry, source: bytes) -> bytes:
    made = _tuple(ORIGINAL, source, entry.address(ORIGINAL, DESTINATION), entry.protocol(ORIGINAL))
    return attributes(made)[ORIGINAL]
