# SPDX-License-Identifier: ISC
"""The stand-in for a radio: it says which node a client is associated with.

A client's eth0 is a bridge with one port at a time, a cable to the node that it is associated with. So eth0 keeps its
MAC, its address and its sockets, and loses its carrier for a moment, as Wi-Fi does. The node's end of the cable stays
up always, as an access point's device does. A node notices:

joining  the frame with which an access point's kernel tells bridges of a new station (IEEE 802.2 XID, with the
         station's source address): the node's bridge learns the client's MAC from it
leaving  the MAC's entry in the node's bridge is removed, as with a disassociation. With a hard roam nothing happens:
         the port stays up, the entry stays, and packets to it are lost

A roam is a handful of netlink messages, for which no program is started: it takes less than a millisecond.
"""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sdk.lab.machine import LabError

CLONE_NEWNET = 0x40000000
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_GETLINK, RTM_SETLINK, RTM_GETADDR, RTM_DELNEIGH = 18, 19, 22, 29
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
IFLA_IFNAME, IFLA_MASTER, IFLA_OPERSTATE = 3, 10, 16
OPERSTATES_UP = (0, 6)  # unknown, which is what a TAP says of itself, and up
IFA_LOCAL = 2
NDA_LLADDR = 2
NTF_MASTER = 0x04
HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BxxxI")  # ifaddrmsg: family, index
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
ATTRIBUTE = struct.Struct("=HH")
RECEIVE_BYTES = 1 << 18
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Device:
    """A network device; master is the index of the bridge that it is a port of, 0 if of none."""

    name: str
    index: int
    master: int
    is_up: bool


def in_namespace(pid: int, make: Callable[[], Made]) -> Made:
    """Return what make returns in the network namespace of a process; sockets that it makes stay there."""
    made: list[Made] = []
    failed: list[BaseException] = []

    def enter() -> None:  # a thread of its own, for it does not come back
        try:
            space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(space, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                made.append(make())
            finally:
                os.close(space)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        if length < ATTRIBUTE.size:
            return
        yield kind, data[ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def device_of(payload: bytes) -> Device:
    _, _, index, _, _ = LINK.unpack_from(payload)
    found = dict(attributes(payload[LINK.size :]))
    (master,) = struct.unpack("=I", found.get(IFLA_MASTER, bytes(4)))
    name = found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode()
    return Device(name, index, master, found.get(IFLA_OPERSTATE, b"\0")[0] in OPERSTATES_UP)


def station_frame(mac: bytes) -> bytes:
    """Return what an access point sends in a new station's name, so that bridges know where it is."""
    return b"\xff" * 6 + mac + struct.pack("!H", 6) + b"\x00\x01\xaf\x81\x01\x00"


class Kernel:
    """The kernel of one machine, over netlink. Raises LabError where it refuses."""

    def __init__(self, machine: str, pid: int):
        self.machine, self.pid, self.sequence = machine, pid, 0
        self.turn = threading.Lock()

        def sockets() -> tuple[socket.socket, socket.socket]:
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            netlink.bind((0, 0))
            return netlink, socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)

        self.netlink, self.packets = in_namespace(pid, sockets)

    def close(self) -> None:
        self.netlink.close()
        self.packets.close()

    def ask(self, kind: int, flags: int, payload: bytes) -> list[bytes]:
        """Send one message; return the payloads of what answers it. OSError with what the kernel says against it."""
        with self.turn:
            self.sequence += 1
            size = HEADER.size + len(payload)
            self.netlink.send(HEADER.pack(size, kind, REQUEST | flags, self.sequence, 0) + payload)
            answers: list[bytes] = []
            while True:
                data = self.netlink.recv(RECEIVE_BYTES)
                while data:
                    length, got, _, sequence, _ = HEADER.unpack_from(data)
                    body, data = data[HEADER.size : length], data[(length + 3) & ~3 :]
                    if sequence != self.sequence:
                        continue
                    if got == NLMSG_DONE:
                        return answers
                    if got == NLMSG_ERROR:
                        (error,) = struct.unpack_from("=i", body)
                        if error:
                            raise OSError(-error, os.strerror(-error))
                        return answers
                    answers.append(body)

    def devices(self) -> dict[str, Device]:
        answers = self.ask(RTM_GETLINK, DUMP, LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        return {device.name: device for device in map(device_of, answers)}

    def device(self, name: str) -> Device:
        found = self.devices()
        if name not in found:
            raise LabError(f"{self.machine}: there is no device {name}")
        return found[name]

    def ipv4_address(self, name: str) -> str:
        """Return a device's first IPv4 address, "" if it has none."""
        device = self.devices().get(name)
        for answer in self.ask(RTM_GETADDR, DUMP, ADDRESS.pack(socket.AF_INET, 0)):
            local = dict(attributes(answer[ADDRESS.size :])).get(IFA_LOCAL)
            if device and local and ADDRESS.unpack_from(answer)[1] == device.index:
                return socket.inet_ntoa(local)
        return ""

    def set_master(self, device: Device, master: int) -> None:
        """Make a device the port of a bridge, or of none (0)."""
        message = LINK.pack(socket.AF_UNSPEC, 0, device.index, 0, 0)
        try:
            self.ask(RTM_SETLINK, ACK, message + attribute(IFLA_MASTER, struct.pack("=I", master)))
        except OSError as error:
            raise LabError(
                f"{self.machine}: {device.name} cannot change its bridge: {error.strerror}"
            ) from None

    def forget(self, device: Device, mac: bytes) -> None:
        """Remove a MAC's entry at a port of a bridge; nothing happens where there is none."""
        message = NEIGHBOUR.pack(socket.AF_BRIDGE, device.index, 0, NTF_MASTER, 0)
        try:
            self.ask(RTM_DELNEIGH, ACK, message + attribute(NDA_LLADDR, mac))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LabError(f"{self.machine}: the bridge keeps what it learned: {error.strerror}") from None

    def send(self, device: Device, frame: bytes) -> None:
        try:
            self.packets.sendto(frame, (device.name, 0))
        except OSError as error:
            raise LabError(f"{self.machine}: {device.name} does not send: {error.strerror}") from None
