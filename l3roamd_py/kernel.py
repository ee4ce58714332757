# SPDX-License-Identifier: ISC
"""What the daemon asks of the kernel by rtnetlink: addresses, neighbours, routes, and where a route leads.

The messages are pyroute2's, the sockets plain ones: pyroute2's own bring an event loop along, and the daemon has its
loop already. Whatever is made here bears OWNER as its protocol, so that the next daemon finds it, and making what is
there or removing what is not changes nothing.
"""

import contextlib
import errno
import importlib.util
import os
import socket
import struct
import sys
import types
from collections.abc import Iterator

OWNER = 158  # routing protocol number; the C l3roamd's, whose place we take
TIMEOUT_S = 2.0  # the kernel answers at once or not at all
NEIGHBOURS_MAX = 16384  # remembered for a client device that comes back
REQUEST, ACK, REPLACE, CREATE, DUMP = 0x1, 0x4, 0x100, 0x400, 0x300  # NLM_F_
ERROR, DONE = 2, 3  # NLMSG_
NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DEL_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DEL_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
AF_BRIDGE = 7
MAIN_TABLE, UNICAST, UNREACHABLE, FIB_MATCH = 254, 1, 7, 0x2000
REACHABLE, PROBE, FAILED, PERMANENT = 0x02, 0x10, 0x20, 0x80  # NUD_
NTF_MASTER = 0x04
NO_DAD = 0x02  # IFA_F_NODAD
SOL_NETLINK, STRICT = 270, 12  # a dump gives only what its request describes
HEADER = struct.Struct("=IHHII")


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

__all__ = ["Kernel", "KernelError", "Netlink", "ctrlmsg", "genlmsg", "ifinfmsg", "messages", "ndmsg"]


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence and whole of each message in what a netlink socket gave."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield kind, sequence, data[at : at + length]
        at += length + 3 & ~3


class Netlink:
    """A netlink socket for requests: each is asked and answered before the next."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(TIMEOUT_S)
        with contextlib.suppress(OSError):  # kernels before 4.20 dump everything
            self._socket.setsockopt(SOL_NETLINK, STRICT, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def ask(self, what: str, message: nlmsg, kind: int, flags: int = 0) -> list[nlmsg]:
        """Send a request; return its answers, in the request's own form. KernelError names `what`."""
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        header = message["header"]
        header["type"], header["flags"] = kind, REQUEST | ACK | flags
        header["sequence_number"] = self._sequence
        message.encode()
        try:
            self._socket.send(message.data)
            return list(self._answers(what, type(message)))
        except OSError as error:
            raise KernelError(what, error.errno or errno.ETIMEDOUT) from None

    def _answers(self, what: str, form: type[nlmsg]) -> Iterator[nlmsg]:
        while True:
            for kind, sequence, whole in messages(self._socket.recv(1 << 17)):
                if sequence != self._sequence:
                    continue  # the rest of a request that took too long
                if kind == DONE:
                    return
                if kind == ERROR:
                    (code,) = struct.unpack_from("=i", whole, HEADER.size)
                    if code:
                        raise KernelError(what, -code)
                    return
                answer = form(whole)
                answer.decode()
                yield answer

    def close(self) -> None:
        self._socket.close()


def _make(form: type[nlmsg], attributes: list[tuple[str, object]], **fields: int) -> nlmsg:
    message = form()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return message


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def index_of(device: str) -> int:
    """The index of a device, 0 if there is none."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


class Kernel:
    """What of the kernel is ours: addresses on lo, and neighbours and host routes on the client device.

    The client device may go and come back: what was put on it is remembered, and put on it again by `renew`.
    """

    def __init__(self, client_device: str, node_client_prefix: bytes | None) -> None:
        self.client_device = client_device
        self._prefix = node_client_prefix
        self._netlink = Netlink()
        self._lo = index_of("lo")
        self._pinned: dict[bytes, bytes] = {}  # IPv4 address -> MAC
        self._routes: dict[bytes, bytes] = {}  # IPv6 address -> MAC

    def close(self) -> None:
        self._netlink.close()

    def _client_index(self, what: str) -> int:
        index = index_of(self.client_device)
        if not index:
            raise KernelError(f"{what} on {self.client_device}", errno.ENODEV)
        return index

    def _drop(self, what: str, message: nlmsg, kind: int) -> None:
        try:
            self._netlink.ask(what, message, kind)
        except KernelError as error:
            if error.number not in (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV):
                raise

    # Node-client addresses

    def _address(self, address: bytes) -> nlmsg:
        attributes = [
            ("IFA_LOCAL", _text(address)),
            ("IFA_ADDRESS", _text(address)),
            ("IFA_FLAGS", NO_DAD),
            ("IFA_PROTO", OWNER),
        ]
        return _make(ifaddrmsg, attributes, family=socket.AF_INET6, prefixlen=128, index=self._lo)

    def add_address(self, address: bytes) -> None:
        """Take an IPv6 address, on lo."""
        self._netlink.ask(f"to take {_text(address)}", self._address(address), NEW_ADDRESS, CREATE | REPLACE)

    def remove_address(self, address: bytes) -> None:
        self._drop(f"to give up {_text(address)}", self._address(address), DEL_ADDRESS)

    def addresses(self) -> set[bytes]:
        """The node-client addresses that we have: by their prefix, or by the mark that newer kernels keep."""
        request = _make(ifaddrmsg, [], family=socket.AF_INET6)
        found = set()
        for answer in self._netlink.ask("to list addresses", request, GET_ADDRESS, DUMP):
            if answer["index"] == self._lo and answer["prefixlen"] == 128:
                address = _packed(answer.get_attr("IFA_ADDRESS"))
                if answer.get_attr("IFA_PROTO") == OWNER or address[:8] == (self._prefix or b"?")[:8]:
                    found.add(address)
        return found

    # Neighbours and routes of clients

    def _neighbour(self, index: int, address: bytes, mac: bytes | None = None, state: int = 0) -> nlmsg:
        attributes: list[tuple[str, object]] = [("NDA_DST", _text(address))]
        if mac is not None:
            attributes += [("NDA_LLADDR", mac.hex(":")), ("NDA_PROTOCOL", OWNER)]
        return _make(ndmsg, attributes, family=_family(address), ifindex=index, state=state)

    def pin(self, mac: bytes, ipv4: bytes) -> None:
        """Tie an IPv4 address to a MAC on the client device, whatever ARP says."""
        if len(self._pinned) < NEIGHBOURS_MAX:
            self._pinned[ipv4] = mac
        self._set_neighbour(mac, ipv4, PERMANENT)

    def _set_neighbour(self, mac: bytes, address: bytes, state: int) -> None:
        what = f"to tie {_text(address)} to {mac.hex(':')}"
        message = self._neighbour(self._client_index(what), address, mac, state)
        self._netlink.ask(what, message, NEW_NEIGHBOUR, CREATE | REPLACE)

    def unpin(self, mac: bytes, ipv4: bytes) -> None:
        """Untie them, unless the address is tied to another MAC by now."""
        if self._pinned.get(ipv4, mac) == mac:
            self._pinned.pop(ipv4, None)
            self._drop_neighbour(ipv4)

    def _drop_neighbour(self, address: bytes) -> None:
        if index := index_of(self.client_device):
            self._drop(f"to untie {_text(address)}", self._neighbour(index, address), DEL_NEIGHBOUR)

    def probe(self, mac: bytes, address: bytes) -> None:
        """Let the kernel ask a neighbour whether it is there; the neighbour events tell."""
        self._set_neighbour(mac, address, PROBE)

    def pinned(self) -> set[tuple[bytes, bytes]]:
        """What we tied, as (MAC, IPv4 address)."""
        request = _make(ndmsg, [], family=socket.AF_INET)
        index, found = index_of(self.client_device), set()
        for answer in self._netlink.ask("to list neighbours", request, GET_NEIGHBOUR, DUMP):
            if answer["ifindex"] == index and answer.get_attr("NDA_PROTOCOL") == OWNER:
                found.add((_mac(answer.get_attr("NDA_LLADDR")), _packed(answer.get_attr("NDA_DST"))))
        return found

    def _route(self, address: bytes, index: int) -> nlmsg:
        attributes = [("RTA_DST", _text(address)), ("RTA_OIF", index)]
        fields = {"family": socket.AF_INET6, "dst_len": 128, "table": MAIN_TABLE, "proto": OWNER}
        return _make(rtmsg, attributes, type=UNICAST, **fields)

    def add_route(self, mac: bytes, address: bytes) -> None:
        """Send what is for an IPv6 address of a client to the client device, and there to its MAC."""
        if len(self._routes) < NEIGHBOURS_MAX:
            self._routes[address] = mac
        what = f"to route {_text(address)}"
        self._netlink.ask(what, self._route(address, self._client_index(what)), NEW_ROUTE, CREATE | REPLACE)
        self._set_neighbour(mac, address, REACHABLE)

    def remove_route(self, mac: bytes, address: bytes) -> None:
        if self._routes.get(address, mac) != mac:
            return
        self._routes.pop(address, None)
        if index := index_of(self.client_device):
            self._drop(f"to unroute {_text(address)}", self._route(address, index), DEL_ROUTE)
            self._drop_neighbour(address)

    def routes(self) -> set[bytes]:
        """The IPv6 addresses that we route to the client device."""
        request = _make(rtmsg, [], family=socket.AF_INET6)
        index, found = index_of(self.client_device), set()
        for answer in self._netlink.ask("to list routes", request, GET_ROUTE, DUMP):
            is_ours = answer["proto"] == OWNER and answer["dst_len"] == 128
            if is_ours and answer.get_attr("RTA_OIF") == index:
                found.add(_packed(answer.get_attr("RTA_DST")))
        return found

    def renew(self) -> list[KernelError]:
        """Put on the client device again what was on it; return what went wrong."""
        failures = []
        for make, wanted in ((self.pin, self._pinned), (self.add_route, self._routes)):
            for address, mac in list(wanted.items()):
                try:
                    make(mac, address)
                except KernelError as error:
                    failures.append(error)
        return failures

    # Asking

    def leads_elsewhere(self, address: bytes) -> bool:
        """Return whether a host route leads to an IPv6 address, and that is not our own."""
        request = _make(rtmsg, [("RTA_DST", _text(address))], family=socket.AF_INET6, dst_len=128)
        request["flags"] = FIB_MATCH
        try:
            answers = self._netlink.ask(f"where {_text(address)} is", request, GET_ROUTE)
        except KernelError:
            return False  # how the kernel says that no route leads there
        return any(
            each["dst_len"] == 128 and each["type"] == UNICAST and each.get_attr("RTA_OIF") != self._lo
            for each in answers
        )

    def is_retracted(self, address: bytes) -> bool:
        """Return whether a routing daemon says of an IPv6 address that its way is lost just now, not that it has none.

        babeld keeps such a route for a while after a neighbour was not heard: RFC 8966 section 2.8.
        """
        request = _make(rtmsg, [], family=socket.AF_INET6, table=MAIN_TABLE, type=UNREACHABLE)
        return any(
            each["type"] == UNREACHABLE
            and each["dst_len"] == 128
            and _packed(each.get_attr("RTA_DST")) == address
            for each in self._netlink.ask("to list lost routes", request, GET_ROUTE, DUMP)
        )

    def forget_bridge_entry(self, mac: bytes, port: int) -> None:
        """Have the bridge forget where a MAC is, so that it tells us when the client is here again."""
        message = _make(ndmsg, [("NDA_LLADDR", mac.hex(":"))], family=AF_BRIDGE, ifindex=port)
        message["flags"] = NTF_MASTER
        self._drop(f"to forget {mac.hex(':')}", message, DEL_NEIGHBOUR)

    def dump(self, form: type[nlmsg], kind: int, family: int) -> list[nlmsg]:
        return self._netlink.ask("to list what there is", _make(form, [], family=family), kind, DUMP)
