# SPDX-License-Identifier: ISC
"""Packets for the comparison of siit's fast path with its slow one: most are simple, the others have something odd."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from siit.translator import GSO_NONE, GSO_TCP, GSO_UDP, rfc6052

NEEDS_CSUM = 1
VNET_OF = {(4, GSO_TCP): 1, (6, GSO_TCP): 4, (4, GSO_UDP): 5, (6, GSO_UDP): 5}
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
MTU6 = 1500
CLIENTS, CLAT = bytes((10, 1, 0, 0)), bytes.fromhex("fd00006400010000000000000000") + bytes(2)
PLAT = bytes.fromhex("fd00006400020000000000000000") + bytes(2)
CLAT_SIDE, PLAT_SIDE = rfc6052(CLIENTS, 16, CLAT, 96), rfc6052(bytes(4), 0, PLAT, 96)
# the sums of both prefixes are one another's complement, so that no checksum changes
NEUTRAL_SIDE = rfc6052(bytes(4), 0, bytes.fromhex("02ffff9bfffdffff00000001") + bytes(4), 96)
ROLES = {"clat": (CLAT_SIDE, PLAT_SIDE), "plat": (PLAT_SIDE, CLAT_SIDE), "neutral": (CLAT_SIDE, NEUTRAL_SIDE)}


def total(data: bytes, start: int = 0) -> int:
    """The sum of 16-bit words, folded."""
    data += bytes(len(data) % 2)
    start += sum(struct.unpack(f"!{len(data) // 2}H", data))
    while start >> 16:
        start = (start & 0xFFFF) + (start >> 16)
    return start


@dataclass(frozen=True)
class Sent:
    """What goes into the device: a packet, its virtio_net_hdr's fields, and whether it must be translated there."""

    kind: str
    data: bytes
    flags: int = 0
    gso_type: int = GSO_NONE
    gso_size: int = 0
    header_len: int = 0
    csum: tuple[int, int] = (0, 0)
    is_simple: bool = False

    @property
    def version(self) -> int:
        return self.data[0] >> 4

    def frame(self) -> bytes:
        kind = VNET_OF.get((self.version, self.gso_type), 0)
        return (
            struct.pack("=BBHHHH", self.flags, kind, self.header_len, self.gso_size, *self.csum) + self.data
        )


def ipv4(protocol: int, payload: bytes, src: bytes, dst: bytes, **fields: int) -> bytes:
    tos, ttl, flags, identification = (
        fields.get(name, value)
        for name, value in (("tos", 0), ("ttl", 64), ("flags", 0), ("identification", 0))
    )
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), identification, flags, ttl, protocol, 0, src, dst
    )
    return header[:10] + struct.pack("!H", 0xFFFF ^ total(header)) + header[12:] + payload


def ipv6(protocol: int, payload: bytes, src: bytes, dst: bytes, **fields: int) -> bytes:
    first = 6 << 28 | fields.get("tos", 0) << 20 | fields.get("flow", 0)
    return struct.pack("!IHBB", first, len(payload), protocol, fields.get("ttl", 64)) + src + dst + payload


def pseudo(protocol: int, length: int, src: bytes, dst: bytes) -> int:
    return total(src + dst + struct.pack("!II", length, protocol))


class Maker:
    """Makes packets from a seed: most of them simple, the others with one thing wrong, or several."""

    def __init__(self, seed: int, role: str) -> None:
        self.chance = random.Random(seed)
        local, remote = ROLES[role]
        self.is_client_local = local is CLAT_SIDE
        self.prefix = (remote if self.is_client_local else local).v6[:12]

    def one_of(self, *choices):
        return self.chance.choice(choices)

    def addresses(self, version: int) -> tuple[bytes, bytes]:
        client = CLIENTS[:2] + self.chance.randbytes(2)
        server = bytes((self.one_of(8, 93, 198, 203, 240), *self.chance.randbytes(3)))
        if version == 6:
            client, server = CLAT[:12] + client, self.prefix + server
        # IPv4 goes from the local side to the remote one
        return (client, server) if self.is_client_local == (version == 4) else (server, client)

    def payload(self, header: int, most: int) -> bytes:
        size = self.one_of(
            self.chance.randrange(20),
            self.chance.randrange(1200),
            self.chance.randrange(1180, 1260) - header,
            most - header,
        )
        size = max(0, min(size, most - header))
        if self.chance.random() < 0.05:
            return bytes(size)
        return self.chance.randbytes(size)

    def transport(self, protocol: int, body: bytes, src: bytes, dst: bytes) -> tuple[bytes, int]:
        """A header with a right checksum, and where that is."""
        if protocol == TCP:
            options = self.chance.randbytes(4 * self.one_of(0, 0, 3, self.chance.randrange(11)))
            ports_and_numbers = self.chance.randbytes(12)
            flags = self.one_of(0x10, 0x18, 0x02, 0x11, 0xD0)
            head = (
                ports_and_numbers + bytes(((20 + len(options)) // 4 << 4, flags)) + self.chance.randbytes(2)
            )
            made, at = head + bytes(2) + self.chance.randbytes(2) + options + body, 16
        elif protocol == UDP:
            made, at = self.chance.randbytes(4) + struct.pack("!HH", min(65535, 8 + len(body)), 0) + body, 6
        else:
            kind = self.one_of(8, 0) if protocol == ICMP else self.one_of(128, 129)
            code = 0 if self.chance.random() < 0.9 else self.chance.randrange(256)
            made, at = bytes((kind, code, 0, 0)) + self.one_of(bytes(4), self.chance.randbytes(4)) + body, 2
        start = 0 if protocol == ICMP else pseudo(protocol, len(made), src, dst)
        check = 0xFFFF ^ total(made, start)
        if protocol == UDP and check == 0:
            check = 0xFFFF
        return made[:at] + struct.pack("!H", check) + made[at + 2 :], at

    def simple(self) -> Sent:
        version = self.one_of(4, 6)
        protocol = self.one_of(TCP, TCP, UDP, UDP, ICMP if version == 4 else ICMP6)
        src, dst = self.addresses(version)
        header = 20 if version == 4 else 40
        most = MTU6 - 40 - {TCP: 0, UDP: 8}.get(protocol, 8)
        fields = {
            "tos": self.chance.randrange(256),
            "ttl": self.one_of(2, 64, 255, self.chance.randrange(2, 256)),
            "identification": self.chance.randrange(65536),
            "flags": self.one_of(0, 0x4000, 0x8000),
            "flow": self.chance.randrange(1 << 20),
        }
        body = self.payload({TCP: 60}.get(protocol, 0), most)
        made, at = self.transport(protocol, body, src, dst)
        sent = Sent("simple", b"", is_simple=True)
        if protocol in (TCP, UDP):
            sent, made = self.offload(sent, protocol, made, at, header, src, dst)
        elif (
            protocol == ICMP6
            and made[0] == 129
            and total(bytes((0, made[1], 0, 0)) + made[4:]) in (0, 0xFFFF)
        ):
            sent = replace(sent, kind="zeros", is_simple=False)  # its checksum in IPv4 is zero, or was
        data = (ipv4 if version == 4 else ipv6)(protocol, made, src, dst, **fields)
        return replace(sent, data=data, header_len=self.linear(len(data), header))

    def linear(self, length: int, header: int) -> int:
        """How much of it the kernel shall keep in one piece: 0 for all."""
        return self.one_of(0, 0, min(length, header), min(length, header + 8), min(length, header + 40))

    def offload(self, sent, protocol, made, at, header, src, dst):
        """Leave the checksum to hardware, and perhaps the cutting too."""
        how = self.one_of("real", "real", "wrong", "partial", "super", "super")
        if how == "wrong":
            check = self.one_of(self.chance.randrange(1, 65536), 0xFFFF, 1)
            return replace(sent, kind="wrong"), made[:at] + struct.pack("!H", check) + made[at + 2 :]
        if how == "real":
            return replace(sent, kind="real"), made
        sent = replace(sent, kind=how, flags=NEEDS_CSUM, csum=(header, at))
        if how == "super":
            head = 8 if protocol == UDP else made[12] // 16 * 4
            size = self.one_of(  # 8 is TCP_MIN_GSO_SIZE: some kernels make less to that
                8, 100, 536, 1200, 1240 - head, 1460 - head, self.chance.randrange(8, 1460 - head)
            )
            segments = self.one_of(2, 3, self.chance.randrange(2, 45))
            # UDP's last segment may be short, and TCP's; 65535 is IPv4's largest packet
            body = min(size * segments - self.chance.randrange(size), 65535 - 40 - head)
            made = made[:head] + self.chance.randbytes(body)
            if protocol == UDP:
                made = made[:4] + struct.pack("!H", len(made)) + made[6:]
            sent = replace(sent, gso_type=GSO_TCP if protocol == TCP else GSO_UDP, gso_size=size)
        check = pseudo(protocol, len(made), src, dst)
        return sent, made[:at] + struct.pack("!H", check) + made[at + 2 :]

    def odd(self) -> Sent:
        """One packet that is not simple, or may not be."""
        sent = self.simple()
        data = bytearray(sent.data)
        header = 20 if data[0] >> 4 == 4 else 40
        for _ in range(self.one_of(1, 1, 2)):
            change = self.chance.choice(CHANGES)
            if change is resize and not sent.gso_type:
                continue
            if len(data) < header + 8:
                break
            data, changes = change(self, data, header)
            sent = replace(sent, kind=change.__name__, **changes)
        return replace(sent, is_simple=False, data=bytes(data), header_len=0)

    def make(self) -> Sent:
        return self.simple() if self.chance.random() < 0.6 else self.odd()


def mend(data: bytearray) -> None:
    """Make the IPv4 header checksum right."""
    if data[0] >> 4 == 4 and len(data) >= 20:
        length = max(20, min((data[0] & 15) * 4, len(data)))
        data[10:12] = bytes(2)
        data[10:12] = struct.pack("!H", 0xFFFF ^ total(bytes(data[:length])))


def damage(maker: Maker, data: bytearray, header: int):
    """Some bytes of the headers."""
    for _ in range(maker.one_of(1, 2, 5)):
        data[maker.chance.randrange(min(len(data), header + 20))] = maker.chance.randrange(256)
    if maker.chance.random() < 0.7:
        data[0] = 0x45 if header == 20 else data[0] & 15 | 0x60
        mend(data)
    return data, {}


def truncate(maker: Maker, data: bytearray, header: int):
    return data[: maker.chance.randrange(1, min(len(data), header + 30))], NO_OFFLOAD


def lengthen(maker: Maker, data: bytearray, header: int):
    """The link's padding."""
    return data + maker.chance.randbytes(maker.chance.randrange(1, 30)), {}


def shorten(maker: Maker, data: bytearray, header: int):
    """A length that is a little more or less than what is there."""
    at = 2 if header == 20 else 4
    (length,) = struct.unpack_from("!H", data, at)
    struct.pack_into("!H", data, at, max(0, min(65535, length + maker.one_of(-1, 1, -8, 8, -30))))
    mend(data)
    return data, {}


def age(maker: Maker, data: bytearray, header: int):
    data[8 if header == 20 else 7] = maker.one_of(0, 1, 2)
    mend(data)
    return data, {}


def fragment(maker: Maker, data: bytearray, header: int):
    if header == 20:
        struct.pack_into("!H", data, 6, maker.one_of(0x2000, 0x0001, 0x1FFF, 0x2001))
        mend(data)
    else:
        data[40:40] = bytes((data[6], 0)) + struct.pack("!HI", maker.one_of(0, 1, 8, 9), 7)
        data[6] = 44
        struct.pack_into("!H", data, 4, min(65535, len(data) - 40))
    return data, NO_OFFLOAD


def option(maker: Maker, data: bytearray, header: int):
    if header == 20:
        data[20:20] = bytes((1, 1, 1, 0))
        data[0] = 0x46
        struct.pack_into("!H", data, 2, min(65535, len(data)))
        mend(data)
    else:
        data[40:40] = bytes((data[6], 0, 1, 4, 0, 0, 0, 0))
        data[6] = maker.one_of(0, 60)
        struct.pack_into("!H", data, 4, min(65535, len(data) - 40))
    return data, NO_OFFLOAD


def readdress(maker: Maker, data: bytearray, header: int):
    """Addresses that must not be forwarded, that nobody maps, of prefixes that are almost right."""
    at = maker.one_of(12, 16) if header == 20 else maker.one_of(8, 24)
    v4 = maker.one_of(
        bytes(4),
        b"\x7f\0\0\1",
        b"\xe0\0\0\1",
        b"\xef\xff\xff\xff",
        b"\xff" * 4,
        b"\xa9\xfe\1\1",
        b"\xa9\xff\1\1",
        b"\x0a\2\0\1",
        b"\xf0\0\0\1",
        b"\xff\xff\xff\xfe",
        maker.chance.randbytes(4),
    )
    if header == 20:
        data[at : at + 4] = v4
        mend(data)
    elif maker.chance.random() < 0.6:
        data[at + 12 : at + 16] = v4
    else:
        data[at + maker.chance.randrange(12)] ^= 1 << maker.chance.randrange(8)
    return data, {}


def renumber(maker: Maker, data: bytearray, header: int):
    """Another protocol."""
    data[9 if header == 20 else 6] = maker.one_of(
        0, 1, 2, 4, 6, 17, 33, 41, 43, 47, 50, 51, 58, 59, 60, 132, 136, 255
    )
    mend(data)
    return data, {}


def retype(maker: Maker, data: bytearray, header: int):
    if data[9 if header == 20 else 6] in (ICMP, ICMP6) and len(data) > header:
        data[header] = maker.chance.randrange(256)
    return data, {}


def bare(maker: Maker, data: bytearray, header: int):
    """No checksum."""
    at = header + {TCP: 16, UDP: 6}.get(data[9 if header == 20 else 6], 2)
    if at + 2 <= len(data):
        data[at : at + 2] = bytes(2)
    return data, maker.one_of({}, NO_OFFLOAD)


def unsummed(maker: Maker, data: bytearray, header: int):
    """A header checksum that is wrong."""
    if header == 20:
        data[maker.one_of(10, 11)] ^= 1 << maker.chance.randrange(8)
    return data, {}


def inner(maker: Maker, data: bytearray, header: int):
    """A partial checksum further in, as of a packet in a tunnel: the outer one is whole."""
    if len(data) < header + 60:
        return data, {}
    start = maker.chance.randrange(header + 20, len(data) - 20)
    data[header + 6 : header + 8] = data[header + 16 : header + 18] = maker.chance.randbytes(2)
    return data, {**NO_OFFLOAD, "flags": NEEDS_CSUM, "csum": (start, maker.one_of(0, 2, 6, 16))}


def oversize(maker: Maker, data: bytearray, header: int):
    """Around the MTU."""
    want = maker.one_of(1459, 1460, 1461, 1479, 1480, 1481, 1482, 1500, 1501, 3000, 9000, 60000) + header
    data = data[:want] + maker.chance.randbytes(max(0, want - len(data)))
    struct.pack_into("!H", data, 2 if header == 20 else 4, want if header == 20 else want - 40)
    mend(data)
    return data, NO_OFFLOAD


def resize(maker: Maker, data: bytearray, header: int):
    """Segments around the MTU."""
    size = maker.one_of(1400, 1420, 1428, 1440, 1448, 1452, 1453, 1460, 1461, 9000)
    # the kernel takes what fits into one segment for no super-packet
    return data, {"gso_size": size} if size < len(data) - header - 60 else {}


def zeros(maker: Maker, data: bytearray, header: int):
    """An echo reply of nothing but zeros, whose checksum in IPv4 is zero in earnest."""
    src, dst = maker.addresses(6)
    made = bytes((129, 0, 0, 0)) + bytes(maker.one_of(4, 5, 8, 60))
    check = 0xFFFF ^ total(made, pseudo(ICMP6, len(made), src, dst))
    return bytearray(ipv6(ICMP6, made[:2] + struct.pack("!H", check) + made[4:], src, dst)), NO_OFFLOAD


NO_OFFLOAD = {"flags": 0, "gso_type": GSO_NONE, "gso_size": 0, "csum": (0, 0)}
CHANGES: tuple[Callable, ...] = (
    damage,
    truncate,
    lengthen,
    shorten,
    age,
    fragment,
    option,
    readdress,
    renumber,
    retype,
    bare,
    unsummed,
    inner,
    oversize,
    resize,
    zeros,
)
MARKED = b"the mark of the fuzzer"
MARKS = (
    Sent("mark", ipv4(17, b"\0\1\0\2\0\x1e\1\1" + MARKED, CLIENTS, b"\x08\1\1\1")),
    Sent("mark", ipv4(17, b"\0\1\0\2\0\x1e\1\1" + MARKED, b"\x08\1\1\1", CLIENTS)),
    Sent("mark", ipv4(17, b"\0\1\0\2\0\x1e\1\1" + MARKED, CLIENTS, CLIENTS, ttl=1)),
)
