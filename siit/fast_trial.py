# SPDX-License-Identifier: ISC
"""Try the fast path before traffic depends on it: a packet of each kind through a device of its own.

In a network namespace that only the trial's thread is in, and that goes with it, the program must make of each packet
what the translator makes of it. A kernel may do otherwise: a helper that behaves differently, a hook that is not run,
super-packets that it refuses. That shows here, and not in somebody's connection.
"""

import fcntl
import os
import select
import socket
import struct
import threading

from siit._siit import lib
from siit.device import DeviceError, open_queues, set_offloads
from siit.fast import Fast, FastError
from siit.translator import GSO_NONE, GSO_TCP, GSO_UDP, Map, Packet, rfc6052, translate_packet

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
NEEDS_CSUM = 1
VNET_GSO = {(4, GSO_TCP): 1, (6, GSO_TCP): 4, (4, GSO_UDP): 5, (6, GSO_UDP): 5}
CHECKSUM_AT = {6: 16, 17: 6}
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
ANSWER_S = 1
NAME = "siit-trial"
CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 1))
CLAT, PLAT = (bytes.fromhex(f"20010db8000{digit}") + bytes(10) for digit in "12")
RULES = Map([(rfc6052(CLIENT, 24, CLAT, 96), rfc6052(bytes(4), 0, PLAT, 96))])


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def make(
    version: int, protocol: int, head: bytes, body: bytes, gso: int = GSO_NONE, is_partial: bool = False
) -> Packet:
    """A packet of the trial; of a super-packet the segments have 1000 bytes."""
    src, dst = (CLIENT, SERVER) if version == 4 else (PLAT[:12] + SERVER, CLAT[:12] + CLIENT)
    payload = head + body
    pseudo = b"" if protocol == 1 else src + dst + struct.pack("!II", len(payload), protocol)
    at = CHECKSUM_AT.get(protocol, 2)
    total = checksum(pseudo) ^ 0xFFFF if is_partial else checksum(pseudo + payload)
    payload = payload[:at] + struct.pack("!H", total) + payload[at + 2 :]
    if version == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, src, dst)
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    else:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + src + dst
    return Packet(header + payload, gso, 1000 if gso else 0, is_partial)


def packets() -> dict[str, Packet]:
    """One of each kind, by name."""
    tcp, body = struct.pack("!HHIIBBHI", 4640, 80, 1, 2, 0x50, 0x10, 1000, 0), bytes(range(100))
    made: dict[str, Packet] = {}
    for version, echo in ((4, 8), (6, 128)):
        udp = struct.pack("!HHHH", 4640, 53, 108, 0)
        super_udp = struct.pack("!HHHH", 4640, 53, 2508, 0)
        icmp = struct.pack("!BBHHH", echo, 0, 0, 7, 1)
        made |= {
            f"TCP in IPv{version}": make(version, 6, tcp, body),
            f"TCP with a partial checksum in IPv{version}": make(version, 6, tcp, body, is_partial=True),
            f"a super-packet of TCP in IPv{version}": make(version, 6, tcp, body * 25, GSO_TCP, True),
            f"UDP in IPv{version}": make(version, 17, udp, body),
            f"a super-packet of UDP in IPv{version}": make(version, 17, super_udp, body * 25, GSO_UDP, True),
            f"echo in IPv{version}": make(version, 1 if version == 4 else 58, icmp, body),
        }
    return made


def pack(packet: Packet) -> bytes:
    """A packet behind its virtio_net_hdr."""
    version = packet.data[0] >> 4
    header, protocol = (20, packet.data[9]) if version == 4 else (40, packet.data[6])
    place = (header, CHECKSUM_AT[protocol]) if packet.needs_csum else (0, 0)
    gso = VNET_GSO.get((version, packet.gso_type), 0)
    flags = NEEDS_CSUM if packet.needs_csum else 0
    return struct.pack("=BBHHHH", flags, gso, 0, packet.gso_size, *place) + packet.data


def essence(frame: bytes) -> tuple[int, int, int, bytes]:
    """What of a packet behind its virtio_net_hdr must be right: offloads and content."""
    flags, gso, _, size = struct.unpack_from("=BBHH", frame)
    return flags & NEEDS_CSUM, gso, size, frame[10:]


def try_one(kind: str, packet: Packet, into: socket.socket, out: socket.socket) -> None:
    """Send one packet; FastError unless what comes out is what the translator makes."""
    verdict, (expected,) = translate_packet(RULES, packet)
    assert verdict == "translated"
    try:
        into.sendto(pack(packet), (NAME, ETH_P_IP if packet.data[0] >> 4 == 4 else ETH_P_IPV6))
    except OSError:
        if packet.gso_type == GSO_UDP:
            return  # before Linux 6.2 nobody can send one so
        raise
    if not select.select([out], [], [], ANSWER_S)[0]:
        raise FastError(f"tried with {kind}, nothing came out")
    if essence(out.recv(1 << 17)) != essence(pack(expected)):
        raise FastError(f"tried with {kind}, it came out wrong")


def _set_up() -> int:
    """A device of the name NAME that is up; its queue. In a namespace of the trial's own."""
    error = lib.siit_fast_unshare()
    if error:
        raise FastError(f"it cannot be tried without a network namespace: {os.strerror(-error)}")
    (queue,) = open_queues(NAME, 1)
    set_offloads(queue)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        fcntl.ioctl(asker, SIOCSIFFLAGS, struct.pack("16sh22x", NAME.encode(), IFF_UP))
    return queue


def _packet_socket(protocol: int) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.bind((NAME, protocol))
    return made


def _try() -> None:
    queue = _set_up()
    try:
        program = Fast(NAME, RULES)
        try:
            if not program.is_compiled:
                raise FastError("the kernel would only interpret it (no JIT)")
            with _packet_socket(0) as into, _packet_socket(ETH_P_ALL) as out:
                for kind, packet in packets().items():
                    try_one(kind, packet, into, out)
        finally:
            program.close()
    finally:
        os.close(queue)


def reason_against() -> str:
    """Why there should be no fast path on this machine; empty when all is well."""
    reasons: list[str] = []

    def attempt() -> None:
        try:
            _try()
        except (FastError, DeviceError, OSError) as error:
            reasons.append(str(error))

    thread = threading.Thread(target=attempt, name=NAME)
    thread.start()
    thread.join()
    return reasons[0] if reasons else ""
