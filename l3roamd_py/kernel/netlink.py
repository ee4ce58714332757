# SPDX-License-Identifier: ISC
"""The door to the kernel: netlink sockets for requests, and the messages, which are pyroute2's.

The sockets are ours (runtime/): pyroute2's own bring an event loop along, and the daemon has its loop already.
"""

import contextlib
import errno
import importlib.util
import os
import struct
import sys
import types
from collections.abc import Iterator

from runtime.netlink import REQUEST, attributes
from runtime.netlink_socket import ROUTE, NetlinkSocket

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DEL_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
AF_BRIDGE = 7
MAIN_TABLE, UNICAST, UNREACHABLE, FIB_MATCH = 254, 1, 7, 0x2000
REACHABLE, STALE, DELAY, PROBE, FAILED, PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x20, 0x80  # NUD_
NTF_MASTER = 0x04
NO_DAD = 0x02  # IFA_F_NODAD
ADDRESS_FORM = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
NEIGHBOUR_FORM = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
ROUTE_FORM = struct.Struct(
    "=BBBBBBBBI"
)  # struct rtmsg: family, destination length, -, -, table, protocol, -, type
LINK_FORM = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change


class KernelError(Exception):
    """The kernel refused; the text says what was asked and what it answered. number: its errno."""

    def __init__(self, asked: str, number: int) -> None:
        super().__init__(f"{asked}: {os.strerror(number)}")
        self.number = number


@contextlib.contextmanager
def _side_door() -> Iterator[None]:
    """Let parts of pyroute2 be imported without its front door, which loads all of it: 20 MiB a router has not."""
    found = importlib.util.find_spec("pyroute2")
    if "pyroute2" in sys.modules or found is None:
        yield  # it is loaded already, or the import that follows says that it is missing
        return
    package = types.ModuleType("pyroute2")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["pyroute2"] = package
    try:
        yield
    finally:
        del sys.modules["pyroute2"]  # whoever wants all of it may still have it


with _side_door():
    from pyroute2.netlink import ctrlmsg, genlmsg, nlmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.ndmsg import ndmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = [
    "KernelError",
    "Netlink",
    "Told",
    "ctrlmsg",
    "genlmsg",
    "ifaddrmsg",
    "ifinfmsg",
    "make",
    "ndmsg",
    "nlmsg",
    "rtmsg",
]


class Told:
    """What the kernel tells of an address, a neighbour, a route or a link: its header, and the attributes by number.

    Any of them may be missing or of another size than expected: a neighbour has no MAC while it is asked for.
    """

    __slots__ = ("attributes", "fields")

    def __init__(self, form: struct.Struct, told: bytes) -> None:
        self.fields = form.unpack(told[: form.size].ljust(form.size, b"\0"))
        self.attributes = attributes(told, form.size)

    def number(self, kind: int) -> int:
        """An attribute as a number, 0 if there is none."""
        return int.from_bytes(self.attributes.get(kind, b""), sys.byteorder)

    def bytes_of(self, kind: int, length: int) -> bytes | None:
        """An attribute of so many bytes, None if there is none."""
        value = self.attributes.get(kind, b"")
        return value if len(value) == length else None


class Netlink:
    """A netlink socket for requests: each is asked and answered before the next."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = NetlinkSocket(protocol, is_strict=True)

    def ask(self, what: str, message: nlmsg, kind: int, flags: int = 0) -> None:
        """Have something done. KernelError names `what`."""
        try:
            self._socket.ask(encoded(message, kind, flags))
        except OSError as error:
            raise KernelError(what, error.errno or errno.EIO) from None

    def stream(self, what: str, message: nlmsg, kind: int, flags: int = 0) -> Iterator[bytes]:
        """Each answer as it comes, without the header of netlink: a dump may be long. KernelError names `what`."""
        try:
            yield from self._socket.dump(encoded(message, kind, flags))
        except OSError as error:
            raise KernelError(what, error.errno or errno.EIO) from None

    def close(self) -> None:
        self._socket.close()


def encoded(message: nlmsg, kind: int, flags: int) -> bytes:
    header = message["header"]
    header["type"], header["flags"] = kind, REQUEST | flags
    message.encode()
    return bytes(message.data)


def make(form: type[nlmsg], attributes: list[tuple[str, object]], **fields: int) -> nlmsg:
    """A message with these attributes and fields of its header."""
    message = form()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return message
