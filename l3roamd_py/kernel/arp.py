# SPDX-License-Identifier: ISC
"""ARP with the clients (RFC 826): probes to one MAC alone, and what clients say. And the same question in IPv6.

An answer to a probe of ours is ArpAnswered, anything else a client says is ClientSeen. The client device may go and
come back: `follow` opens the socket on what is there now.
"""

import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from l3roamd_py.core.events import ArpAnswered, ClientSeen, Event
from l3roamd_py.kernel.solicitation import ETH_P_IPV6, encode_solicitation

ETHERNET, IPV4, REQUEST, REPLY = 1, 0x0800, 1, 2
ETH_P_ARP = 0x0806
PACKET = struct.Struct("!HHBBH6s4s6s4s")
SOL_PACKET, IGNORE_OUTGOING = 263, 23
SIOCGIFADDR, SIOCGIFHWADDR = 0x8915, 0x8927
READS_MAX = 64  # in one round
PROBES_MAX = 4096  # that wait for an answer
ANSWER_S = 10.0  # within which a reply is one to a probe: the time that we had no processor included
NOBODY = bytes(4)
ADDRESSES, LINK_SCOPE = Path("/proc/net/if_inet6"), "20"


def encode_probe(own_mac: bytes, own_ipv4: bytes, mac: bytes, ipv4: bytes) -> bytes:
    """The ARP request that asks for ipv4; own_ipv4 may be 0.0.0.0 (RFC 5227)."""
    return PACKET.pack(ETHERNET, IPV4, 6, 4, REQUEST, own_mac, own_ipv4, mac, ipv4)


def decode(frame: bytes) -> tuple[int, bytes, bytes] | None:
    """Return operation, sender's MAC and sender's IPv4 address of an ARP packet, None if it is none."""
    if len(frame) < PACKET.size:
        return None
    hardware, protocol, hardware_size, protocol_size, operation, mac, ipv4, _, _ = PACKET.unpack_from(frame)
    if (hardware, protocol, hardware_size, protocol_size) != (ETHERNET, IPV4, 6, 4):
        return None
    return (operation, mac, ipv4) if operation in (REQUEST, REPLY) else None


class Arp:
    """ARP on the client device."""

    def __init__(self, device: str, is_client: Callable[[bytes], bool]) -> None:
        self._device = device
        self._is_client = is_client
        self._index = 0
        self._socket: socket.socket | None = None
        self._asked: dict[tuple[bytes, bytes], float] = {}  # (MAC, IPv4 address) -> until when

    def follow(self, index: int) -> bool:
        """The client device has this index now, 0 if it is gone; return whether the socket is another one."""
        if index == self._index and (self._socket is not None or not index):
            return False
        self.close()
        self._index = index
        if index:
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            with contextlib.suppress(OSError):  # gone again: we are told of that too
                made = socket.socket(socket.AF_PACKET, kind, 0)
                self._socket = made
                with contextlib.suppress(OSError):  # kernels before 4.20; own MACs are no clients' anyway
                    made.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
                made.bind((self._device, ETH_P_ARP))
        return True

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask_device(self, request: int) -> bytes:
        """The sockaddr that an ioctl on the device gives, zeros if it has none."""
        name = self._device.encode()[:15].ljust(40, b"\0")
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            return fcntl.ioctl(asker, request, name)[16:32]
        return bytes(16)

    def own_ipv4(self) -> bytes:
        return self._ask_device(SIOCGIFADDR)[4:8]

    def probe(self, mac: bytes, ipv4: bytes, now_s: float) -> None:
        """Ask a MAC for its IPv4 address. OSError when it cannot be asked."""
        if len(self._asked) >= PROBES_MAX:
            self._asked = {key: end_s for key, end_s in self._asked.items() if end_s > now_s}
            if len(self._asked) >= PROBES_MAX:
                self._asked.clear()
        self._asked[mac, ipv4] = now_s + ANSWER_S
        if self._socket is not None:
            own_mac = self._ask_device(SIOCGIFHWADDR)[2:8]
            packet = encode_probe(own_mac, self.own_ipv4(), mac, ipv4)
            self._socket.sendto(packet, (self._device, ETH_P_ARP, 0, 0, mac))

    def solicit(self, mac: bytes, address: bytes) -> None:
        """Ask a MAC for its IPv6 address; the bridge and the neighbour table show the answer. OSError: it cannot be."""
        own_address = self._link_local()
        if self._socket is not None and own_address is not None:
            packet = encode_solicitation(self._ask_device(SIOCGIFHWADDR)[2:8], own_address, address)
            self._socket.sendto(packet, (self._device, ETH_P_IPV6, 0, 0, mac))

    def _link_local(self) -> bytes | None:
        with contextlib.suppress(OSError):
            for line in ADDRESSES.read_text("ascii").splitlines():
                address, _, _, scope, _, device = line.split()
                if scope == LINK_SCOPE and device == self._device:
                    return bytes.fromhex(address)
        return None

    def read(self, now_s: float) -> list[Event]:
        """Take what clients said since the last time."""
        events: list[Event] = []
        own_ipv4 = self.own_ipv4()
        try:
            for _ in range(READS_MAX):
                if self._socket is None:
                    break
                frame, (_, _, _, _, sender) = self._socket.recvfrom(64)
                said = decode(frame)
                if said is not None and said[1] == sender and self._is_client(sender):
                    events.append(self._understand(*said, own_ipv4, now_s))
        except BlockingIOError:
            pass
        except OSError:
            self.close()  # the device went down or away; follow() is called when it is back
        return events

    def _understand(self, operation: int, mac: bytes, ipv4: bytes, own_ipv4: bytes, now_s: float) -> Event:
        until_s = self._asked.pop((mac, ipv4), 0.0) if operation == REPLY else 0.0
        if until_s > now_s:
            return ArpAnswered(mac, ipv4)
        has_address = ipv4 not in (NOBODY, own_ipv4)
        return ClientSeen(mac, ipv4 if has_address else None)
