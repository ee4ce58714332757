# SPDX-License-Identifier: ISC
"""Entries of bridges: at which port a MAC is."""

import sys

from l3roamd_py.kernel.netlink import (
    AF_BRIDGE,
    DEL_NEIGHBOUR,
    GET_NEIGHBOUR,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    NEIGHBOUR_BYTES,
    NEIGHBOUR_FORM,
    NTF_MASTER,
    PERMANENT,
    KernelError,
    Netlink,
    neighbour_header,
    u32,
)
from runtime.netlink import attribute, message

VLANS = 0, 1  # of a bridge that filters none, and what one that does has of itself


class BridgeEntries:
    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink

    def forget(self, mac: bytes, port: int) -> None:
        """Have the bridge forget where a MAC is, so that it tells us when the client is here again."""
        body = neighbour_header(AF_BRIDGE, port, 0, NTF_MASTER) + attribute(NDA_LLADDR, mac)
        self._netlink.drop(("to forget %s", mac), message(DEL_NEIGHBOUR, 0, body))

    def port_of(self, bridge: int, mac: bytes) -> int:
        """Return the index of the port where a bridge has learnt a MAC, 0 if it has not, or cannot say."""
        what = "where %s is", mac
        for vlan in VLANS if bridge else ():
            body = neighbour_header(AF_BRIDGE) + u32(NDA_MASTER, bridge) + attribute(NDA_LLADDR, mac)
            body += attribute(NDA_VLAN, vlan.to_bytes(2, sys.byteorder)) if vlan else b""
            request = message(GET_NEIGHBOUR, 0, body)
            try:
                for told in list(self._netlink.listed(what, request, NEIGHBOUR_FORM, NEIGHBOUR_BYTES)):
                    port: int = told.fields[3]
                    return 0 if told.fields[4] & PERMANENT else port
            except KernelError:
                pass  # how the kernel says that it is not there; before 5.0 it cannot be asked
        return 0
