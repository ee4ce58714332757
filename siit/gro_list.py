# SPDX-License-Identifier: ISC
"""`rx-gro-list` of network devices: asked and set as ethtool does it (ethtool(8), linux/ethtool.h).

With it a device hands on the packets of a flow as a list. A list goes through a router fast, as nobody looks into it.
But TUN devices take no lists: to a translator in user space each packet comes alone. Without it the kernel makes one
packet of them, which a TUN device takes as it is. OpenWrt has it on, on all devices.
"""

import array
import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator

from xlat464.device import parse_device

SIOCETHTOOL = 0x8946
GET_NAMES, GET_COUNTS, GET_FEATURES, SET_FEATURES = 0x1B, 0x37, 0x3A, 0x3B
FEATURES, NAME_BYTES, BLOCK_BITS = 4, 32, 32  # ETH_SS_FEATURES, ETH_GSTRING_LEN
NAME = b"rx-gro-list"
GONE = (errno.ENODEV, errno.ENXIO)
HAS_NONE = (errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL)


class GroList:
    """Closed by `with`. Raises OSError from everything."""

    def __enter__(self) -> "GroList":
        self._asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._place: int | None = None  # of the feature among all, which all devices of a kernel have
        return self

    def __exit__(self, *exception: object) -> None:
        self._asker.close()

    def _ask(self, device: str, request: bytes, answer_bytes: int = 0) -> bytes:
        room = array.array("B", request + bytes(answer_bytes))
        pointer = struct.pack("16sP", device.encode(), room.buffer_info()[0])
        fcntl.ioctl(self._asker, SIOCETHTOOL, pointer.ljust(40, b"\0"))
        return room.tobytes()

    def _look_up(self, device: str) -> tuple[int, int]:
        """How many features there are, and which is the list's; the latter -1 if it is none of this kernel's."""
        counted = self._ask(device, struct.pack("=IIQ", GET_COUNTS, 0, 1 << FEATURES), 4)
        (count,) = struct.unpack_from("=I", counted, 16)
        if self._place is None:
            names = self._ask(device, struct.pack("=III", GET_NAMES, FEATURES, count), count * NAME_BYTES)
            found = [names[at : at + NAME_BYTES].rstrip(b"\0") for at in range(12, len(names), NAME_BYTES)]
            self._place = found.index(NAME) if NAME in found else -1
        return count, self._place

    def is_on(self, device: str) -> bool:
        """Whether a device hands on lists; False as well if it knows of no such thing, or is gone."""
        try:
            count, place = self._look_up(device)
            blocks = -(-count // BLOCK_BITS)
            told = self._ask(device, struct.pack("=II", GET_FEATURES, blocks), blocks * 16)
        except OSError as error:
            if error.errno in GONE + HAS_NONE:
                return False
            raise
        if place < 0:
            return False
        active, fixed = struct.unpack_from("=II", told, 8 + place // BLOCK_BITS * 16 + 8)
        return bool(active & ~fixed & 1 << place % BLOCK_BITS)

    def set(self, device: str, is_on: bool) -> None:
        """Have a device hand on lists or not; one that is gone is left alone."""
        try:
            count, place = self._look_up(device)
            if place < 0:
                return
            blocks = [b"\0" * 8] * -(-count // BLOCK_BITS)
            bit = 1 << place % BLOCK_BITS
            blocks[place // BLOCK_BITS] = struct.pack("=II", bit, bit * is_on)
            self._ask(device, struct.pack("=II", SET_FEATURES, len(blocks)) + b"".join(blocks))
        except OSError as error:
            if error.errno not in GONE:
                raise


def devices_with_lists() -> Iterator[str]:
    """Every device of this network namespace that hands on lists and could do without.

    Not those whose name is none for a shell: it goes into a ledger.
    """
    with GroList() as gro_list:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(ValueError):
                if gro_list.is_on(parse_device(name)):
                    yield name
