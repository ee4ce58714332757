# SPDX-License-Identifier: ISC
"""rtnetlink (RFC 3549, linux/rtnetlink.h): the messages about links, addresses, neighbours and routes.

The framing is runtime's. Each message begins with a header of its kind, made and read by layouts here. The struct of
MicroPython knows neither `x` nor `=`, so the pads of the C structs are fields without a meaning.
"""

import struct
import sys
from errno import ENODEV, ENOENT

from runtime.netlink import attribute, find
from runtime.netlink_socket import ROUTE, NetlinkSocket
from runtime.sockets import EADDRNOTAVAIL, ESRCH, error_number, phrase_of
from xlat464.address import format_ipv4, format_ipv6, format_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    What = str | tuple[Any, ...]

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DEL_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
MAIN_TABLE, UNICAST, UNREACHABLE, FIB_MATCH = 254, 1, 7, 0x2000
REACHABLE, STALE, DELAY, PROBE, FAILED, PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x20, 0x80  # NUD_
NTF_USE, NTF_MASTER = 0x01, 0x04
NO_DAD = 0x02  # IFA_F_NODAD
IFLA_ADDRESS, IFLA_IFNAME = 1, 3
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_PROTO = 1, 2, 8, 11
NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_MASTER, NDA_PROTOCOL = 1, 2, 5, 9, 12
RTA_DST, RTA_OIF, RTA_PRIORITY, RTA_TABLE, RTA_EXPIRES = 1, 4, 6, 15, 23

ADDRESS_FORM, ADDRESS_BYTES = "BBBBI", 8  # struct ifaddrmsg: family, prefix length, flags, scope, index
NEIGHBOUR_FORM, NEIGHBOUR_BYTES = "BBHiHBB", 12  # struct ndmsg: family, -, -, index, state, flags, type
# struct rtmsg: family, destination's length, source's length, tos, table, protocol, scope, type, flags
ROUTE_FORM, ROUTE_BYTES = "BBBBBBBBI", 12
LINK_FORM, LINK_BYTES = "BBHiII", 16  # struct ifinfomsg: family, -, type, index, flags, change
OWNER = 158  # routing protocol number; the C l3roamd's, whose place we take
GONE = (ENOENT, ESRCH, EADDRNOTAVAIL, ENODEV)
FORMATS = {4: format_ipv4, 6: format_mac, 16: format_ipv6}


class KernelError(Exception):
    """The kernel refused; the text says what was asked and what it answered. number: its errno.

    asked: a sentence, or one with a %s for each address that follows. It becomes text when somebody reads it: that no
    route leads to an address is refused as well.
    """

    def __init__(self, asked: "What", number: int) -> None:
        super().__init__(asked, number)
        self.asked, self.number = asked, number

    def __str__(self) -> str:
        asked = self.asked
        sentence: str = asked if isinstance(asked, str) else asked[0] % tuple([_text(e) for e in asked[1:]])
        return sentence + ": " + phrase_of(self.number)


def _text(value: "Any") -> str:
    return FORMATS[len(value)](value) if isinstance(value, bytes) else str(value)


def link_header() -> bytes:
    return bytes(LINK_BYTES)


def address_header(family: int, prefix_length: int = 0, index: int = 0) -> bytes:
    return struct.pack(ADDRESS_FORM, family, prefix_length, 0, 0, index)


def neighbour_header(family: int, index: int = 0, state: int = 0, flags: int = 0) -> bytes:
    return struct.pack(NEIGHBOUR_FORM, family, 0, 0, index, state, flags, 0)


def route_header(
    length: int = 0,
    table: int = 0,
    protocol: int = 0,
    kind: int = 0,
    flags: int = 0,
    family: int = AF_INET6,
) -> bytes:
    return struct.pack(ROUTE_FORM, family, length, 0, 0, table, protocol, 0, kind, flags)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, sys.byteorder))


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


class Told:
    """What the kernel tells of an address, a neighbour, a route or a link: its header, and the attributes by number.

    Any of them may be missing or of another size than expected: a neighbour has no MAC while it is asked for.
    """

    __slots__ = ("_size", "_told", "fields")

    def __init__(self, form: str, size: int, told: bytes) -> None:
        self._told, self._size = told, size
        self.fields = struct.unpack(form, told[:size] + bytes(max(0, size - len(told))))

    def value(self, kind: int) -> bytes:
        """An attribute, b"" if there is none."""
        return find(kind, self._told, self._size)

    def number(self, kind: int) -> int:
        """An attribute as a number, 0 if there is none."""
        return int.from_bytes(self.value(kind), sys.byteorder)

    def bytes_of(self, kind: int, length: int) -> bytes | None:
        """An attribute of so many bytes, None if there is none."""
        value = self.value(kind)
        return value if len(value) == length else None


class Netlink:
    """A netlink socket for requests: each is asked and answered before the next."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = NetlinkSocket(protocol, is_strict=True)

    def ask(self, what: "What", *requests: bytes) -> None:
        """Have something done. KernelError names `what`."""
        try:
            self._socket.ask(*requests)
        except OSError as error:
            raise KernelError(what, error_number(error)) from None

    def stream(self, what: "What", request: bytes) -> "Iterator[bytes]":
        """Each answer as it comes, without the header of netlink: a dump may be long. KernelError names `what`."""
        try:
            yield from self._socket.dump(request)
        except OSError as error:
            raise KernelError(what, error_number(error)) from None

    def listed(self, what: "What", request: bytes, form: str, size: int) -> "Iterator[Told]":
        for answer in self.stream(what, request):
            yield Told(form, size, answer)

    def drop(self, what: "What", request: bytes) -> None:
        """Have something removed; what is not there need not be."""
        try:
            self.ask(what, request)
        except KernelError as error:
            if error.number not in GONE:
                raise

    def close(self) -> None:
        self._socket.close()


def stream_apart(what: "What", request: bytes) -> "Iterator[bytes]":
    """Yield the answers to a request, over a socket of its own: other things may be asked meanwhile."""
    asking = Netlink()
    try:
        yield from asking.stream(what, request)
    finally:
        asking.close()
