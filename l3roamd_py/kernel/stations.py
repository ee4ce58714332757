# SPDX-License-Identifier: ISC
"""Finding clients by Wi-Fi: what nl80211 tells of stations that associate and leave."""

import contextlib
import socket
from collections.abc import Iterator

from l3roamd_py.core.events import ClientGone, ClientSeen, Event
from l3roamd_py.kernel.finding import READS_MAX, Finder, listen, packed_mac
from l3roamd_py.kernel.netlink import (
    ADD_MEMBERSHIP,
    SOL_NETLINK,
    KernelError,
    Netlink,
    ctrlmsg,
    genlmsg,
    messages,
)

GENERIC = 16  # NETLINK_GENERIC
CONTROL_FAMILY, GET_FAMILY = 16, 3  # generic netlink's own
NEW_STATION, DEL_STATION = 19, 20  # NL80211_CMD_


class station_message(genlmsg):
    """What of nl80211's messages about stations is needed."""

    nla_map = (
        ("NL80211_ATTR_UNSPEC", "none"),
        ("NL80211_ATTR_WIPHY", "uint32"),
        ("NL80211_ATTR_WIPHY_NAME", "asciiz"),
        ("NL80211_ATTR_IFINDEX", "uint32"),
        ("NL80211_ATTR_IFNAME", "asciiz"),
        ("NL80211_ATTR_IFTYPE", "uint32"),
        ("NL80211_ATTR_MAC", "l2addr"),
    )


class Stations:
    """Turns what nl80211 tells into events; silent where there is no Wi-Fi."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._socket: socket.socket | None = None

    def open(self) -> bool:
        """Try to listen; return whether we newly do. A driver may come later than we."""
        if self._socket is not None:
            return False
        try:
            group = _group_of("nl80211", "mlme")
            if group is None:
                return False
            self._socket = listen(GENERIC)
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        except (KernelError, OSError):
            self.close()
        return self._socket is not None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def read(self) -> list[Event]:
        events: list[Event] = []
        with contextlib.suppress(OSError):  # lost messages: the bridge learns the client by its first frame
            while self._socket is not None and len(events) < READS_MAX:
                for _, _, whole in messages(self._socket.recv(1 << 16)):
                    events += self.understand(whole)
        return events

    def understand(self, whole: bytes) -> Iterator[Event]:
        """Yield the event in a message, if it is one about a client: a mesh peer is a station too."""
        if len(whole) < 20 or whole[16] not in (NEW_STATION, DEL_STATION):
            return
        message = station_message(whole)
        message.decode()
        mac = packed_mac(message.get_attr("NL80211_ATTR_MAC"))
        port = message.get_attr("NL80211_ATTR_IFINDEX") or 0
        if self._finder.is_client(mac) and self._finder.links.is_port_of(port, self._finder.bridge_index):
            yield ClientSeen(mac, is_proof=True) if message["cmd"] == NEW_STATION else ClientGone(mac)


def _group_of(family: str, group: str) -> int | None:
    """The number of a generic netlink family's multicast group, None if there is no such family."""
    door = Netlink(GENERIC)
    try:
        request = ctrlmsg()
        request["cmd"], request["version"] = GET_FAMILY, 1
        request["attrs"] = [("CTRL_ATTR_FAMILY_NAME", family)]
        (answer,) = door.ask(f"for {family}", request, CONTROL_FAMILY)
        for each in answer.get_attr("CTRL_ATTR_MCAST_GROUPS") or ():
            if each.get_attr("CTRL_ATTR_MCAST_GRP_NAME") == group:
                number: int = each.get_attr("CTRL_ATTR_MCAST_GRP_ID")
                return number
    except (KernelError, ValueError):
        pass  # no such family
    finally:
        door.close()
    return None
