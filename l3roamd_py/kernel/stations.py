# SPDX-License-Identifier: ISC
"""Finding clients by Wi-Fi: what nl80211 tells of stations that associate and leave (linux/nl80211.h).

Behind the header of netlink a generic message has `genlmsghdr`: command u8, version u8, two unused.
"""

import sys

from l3roamd_py.core.events import ClientGone, ClientSeen, Event
from l3roamd_py.kernel.finder import Finder
from l3roamd_py.kernel.listener import Listener, listen
from l3roamd_py.kernel.listing import Listing
from runtime.netlink import DUMP, attribute, attributes, message, split, text, walk
from runtime.netlink_socket import GENERIC, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GENERIC_BYTES = 4  # of genlmsghdr
CONTROL, GET_FAMILY = 16, 3  # generic netlink's own
FAMILY_ID, FAMILY_NAME, GROUPS = 1, 2, 7  # CTRL_ATTR_
GROUP_NAME, GROUP_ID = 1, 2
GET_STATION, NEW_STATION, DEL_STATION = 17, 19, 20  # NL80211_CMD_
PORT, MAC = 3, 6  # NL80211_ATTR_IFINDEX, NL80211_ATTR_MAC


class Stations(Listener):
    """Turns what nl80211 tells into events; silent where there is no Wi-Fi. pending: see Listing."""

    def __init__(self, finder: Finder, pending: "list[Listing] | None" = None) -> None:
        Listener.__init__(self)
        self._finder = finder
        self.listing = Listing(self._list, [] if pending is None else pending)
        self._family = 0
        self._here: dict[bytes, int] = {}  # MAC of a client that is a station -> index of the port

    def open(self) -> bool:
        """Try to listen; return whether we newly do. A driver may come later than we."""
        if self._socket is not None:
            return False
        try:
            self._family, group = _family_and_group("nl80211", "mlme")
            if group:
                self._socket = listen(GENERIC, (group,))
        except OSError:
            pass
        return self._socket is not None

    def read(self) -> list[Event]:
        """Take what was told since the last time."""
        events: list[Event] = []
        try:
            for received in () if self._socket is None else self.listing.told(self._socket):
                for _, _, _, begin, end in split(received):
                    events += self.understand(received[begin:end])
        except OSError:
            pass  # the bridge learns the client by its first frame
        return events

    def is_here(self, mac: bytes) -> bool:
        return mac in self._here

    def understand(self, told: bytes) -> "Iterator[Event]":
        """Yield the event in a message, if it is one about a client: a mesh peer is a station too."""
        command = told[0] if told else 0
        if command not in (NEW_STATION, DEL_STATION):
            return
        mac, port = station(told)
        if not self._finder.is_client(mac) or not self._is_ours(port):
            return
        if command == NEW_STATION:
            self._here[mac] = port
            yield ClientSeen(mac, is_proof=True)
        elif self._here.pop(mac, port) == port:
            yield ClientGone(mac)

    def _is_ours(self, port: int) -> bool:
        return self._finder.links.is_port_of(port, self._finder.bridge_index)

    def _list(self) -> "Iterator[list[Event]]":
        """Ask who is here, after something was not told: who left, and who came."""
        before, self._here = self._here, {}
        asking = NetlinkSocket(GENERIC)
        try:
            for port in self._finder.links.ports_of(self._finder.bridge_index):
                for told in self._stations_of(asking, port):
                    yield [each for each in self.understand(told) if getattr(each, "mac", b"") not in before]
        finally:
            asking.close()
        yield [ClientGone(mac) for mac in before if mac not in self._here]

    def _stations_of(self, asking: NetlinkSocket, port: int) -> "Iterator[bytes]":
        """Yield what is told of the stations of a port; one without Wi-Fi has none."""
        body = bytes((GET_STATION, 0, 0, 0)) + attribute(PORT, port.to_bytes(4, sys.byteorder))
        try:
            yield from asking.dump(message(self._family, DUMP, body))
        except OSError:
            pass


def station(told: bytes) -> tuple[bytes, int]:
    """The MAC and the device's index in a message about a station; empty and 0 if it has none."""
    parts = attributes(told, GENERIC_BYTES)
    return parts.get(MAC, b""), int.from_bytes(parts.get(PORT, b""), sys.byteorder)


def _family_and_group(family: str, group: str) -> tuple[int, int]:
    """The numbers of a generic netlink family and of its multicast group (0: no such group). OSError: no family."""
    body = bytes((GET_FAMILY, 1, 0, 0)) + text(FAMILY_NAME, family)
    asking = NetlinkSocket(GENERIC, GENERIC_BYTES)
    try:
        (answer,) = asking.dump(message(CONTROL, 0, body))
    finally:
        asking.close()
    parts, found = attributes(answer), 0
    for _, each in walk(parts.get(GROUPS, b"")):
        inside = attributes(each)
        if inside.get(GROUP_NAME, b"").rstrip(b"\0") == group.encode():
            found = int.from_bytes(inside[GROUP_ID], sys.byteorder)
    return int.from_bytes(parts[FAMILY_ID], sys.byteorder), found
