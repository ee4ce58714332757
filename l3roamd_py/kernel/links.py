# SPDX-License-Identifier: ISC
"""The devices of this node, as rtnetlink tells of them. No I/O."""

from l3roamd_py.kernel.netlink import IFLA_ADDRESS, IFLA_IFNAME, Told

LINK_OTHER_END, LINK_MASTER, LINK_NAMESPACE = 5, 10, 37  # IFLA_LINK, IFLA_MASTER, IFLA_LINK_NETNSID


def device_name(value: bytes) -> str:
    """Return a device's name; the kernel takes bytes that are no text, and we have no use for these."""
    try:
        return value.rstrip(b"\0").decode()
    except UnicodeError:
        return ""


class Links:
    """The devices there are: their names, MACs and whose ports they are."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[str, bytes, int]] = {}  # index -> name, MAC, index of the bridge
        self._other_ends: dict[int, int] = {}  # index -> a veth's other end, or what a macvlan is on
        self.own_macs: set[bytes] = set()

    def note(self, told: Told, is_new: bool) -> None:
        index = told.fields[3]
        if not is_new:
            self._links.pop(index, None)
            self._other_ends.pop(index, None)
        else:
            name = device_name(told.value(IFLA_IFNAME))
            self._links[index] = (name, told.value(IFLA_ADDRESS), told.number(LINK_MASTER))
            is_here = not told.value(LINK_NAMESPACE)
            self._other_ends[index] = told.number(LINK_OTHER_END) if is_here else 0
        self.own_macs = {mac for _, mac, _ in self._links.values()}

    def index_of(self, name: str) -> int:
        for index, link in self._links.items():
            if link[0] == name:
                return index
        return 0

    def is_port_of(self, port: int, bridge: int) -> bool:
        return bool(bridge) and port in self._links and self._links[port][2] == bridge

    def ports_of(self, bridge: int) -> list[int]:
        return [index for index, (_, _, master) in self._links.items() if bridge and master == bridge]

    def bridge_of(self, index: int) -> int:
        """The bridge behind a device: the device itself, unless its other end is a bridge, or a port of one."""
        end = self._other_ends.get(index, 0)
        if end and any(bridge == end for _, _, bridge in self._links.values()):
            return end
        return (self._links[end][2] if end in self._links else 0) or index

    def name_of(self, index: int) -> str:
        return self._links[index][0] if index in self._links else ""

    def mac_of(self, index: int) -> bytes:
        return self._links[index][1] if index in self._links else bytes(6)
