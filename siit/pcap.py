# SPDX-License-Identifier: ISC
"""Classic pcap files of raw IP packets (link type 101): bytes in, packets out, and back. No I/O.

offset  size  field, in the byte order that the magic number shows
0       4     magic     a1b2c3d4 with microseconds, a1b23c4d with nanoseconds
4       16    version, time zone, accuracy, snapshot length
20      4     link type 101 raw IP, 1 Ethernet, 276 Linux cooked v2, ...
and for each packet
0       8     time      seconds, then micro- or nanoseconds
8       4     length    bytes kept
12      4     length    bytes that the packet had
"""

import struct
from collections.abc import Iterable

RAW_IP = 101
MAGICS = (0xA1B2C3D4, 0xA1B23C4D)
HEADER_BYTES, RECORD_BYTES = 24, 16
SNAPSHOT_BYTES = 262144


class PcapError(Exception):
    """The file is no capture of raw IP packets; one sentence says what is wrong."""


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return each packet's time (8 bytes, as they stand) and its bytes. Raises PcapError."""
    if len(data) < HEADER_BYTES:
        raise PcapError(f"no pcap file: {len(data)} bytes, expected at least {HEADER_BYTES}")
    order = next((o for o in "<>" if struct.unpack_from(f"{o}I", data)[0] in MAGICS), None)
    if order is None:
        raise PcapError("no classic pcap file (tcpdump -w writes one; pcapng is another format)")
    link_type = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    if link_type != RAW_IP:
        raise PcapError(f"link type {link_type}, expected {RAW_IP} (raw IP, as from a TUN device)")
    packets, at = [], HEADER_BYTES
    while at < len(data):
        if at + RECORD_BYTES > len(data):
            raise PcapError(f"the record at byte {at} is cut short")
        captured = struct.unpack_from(f"{order}I", data, at + 8)[0]
        end = at + RECORD_BYTES + captured
        if end > len(data):
            raise PcapError(f"the packet at byte {at} is cut short")
        time = struct.pack("<II", *struct.unpack_from(f"{order}II", data, at))
        packets.append((time, data[at + RECORD_BYTES : end]))
        at = end
    return packets


def write(packets: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the file with these packets; times as `read` returns them, taken for microseconds."""
    header = struct.pack("<IHHiIII", MAGICS[0], 2, 4, 0, 0, SNAPSHOT_BYTES, RAW_IP)
    records = (time + struct.pack("<II", len(each), len(each)) + each for time, each in packets)
    return header + b"".join(records)
