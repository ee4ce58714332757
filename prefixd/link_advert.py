# SPDX-License-Identifier: ISC
"""The clients' device, where router advertisements leave, and the hook by which DHCP and DNS are told the same."""

import os
import socket

from prefixd import net
from prefixd.advert import Patience
from runtime import IS_MICRO, sockets
from runtime.packets import AF_PACKET, ICMPV6, SO_BINDTODEVICE, attach_filter, packet_address
from xlat464.address import format_ipv6
from xlat464.rfc6052 import embed

ETH_P_ALL, OUTGOING = 3, 4  # linux/if_ether.h; a kind of packet in linux/if_packet.h
FRAME_BYTES = 1514
READS_MAX = 16  # in one round
MULTICAST_HOPS, HOP_LIMIT = 18, 255  # option of the level IPPROTO_IPV6
ALL_ROUTERS = b"\xff\x02" + bytes(13) + b"\x02"
SOLICITATION = bytes((133,)) + bytes(7)
ONLY_ADVERTISEMENTS = (  # load, compare; the jumps count from the next line
    (0x28, 0, 0, 12), (0x15, 0, 7, 0x86DD),
    (0x30, 0, 0, 20), (0x15, 0, 5, ICMPV6),
    (0x30, 0, 0, 21), (0x15, 0, 3, HOP_LIMIT),
    (0x30, 0, 0, 54), (0x15, 0, 1, 134),
    (0x06, 0, 0, FRAME_BYTES),
    (0x06, 0, 0, 0),
)  # fmt: skip
WELL_KNOWN = (bytes((192, 0, 0, 170)), bytes((192, 0, 0, 171)))  # of ipv4only.arpa: RFC 7050 section 8.2


class Advert:
    """Hears which advertisements leave the device and sends what the advertiser wants; runs the hook after a change.

    The hook runs as `CMD on ADDRESS ADDRESS`, the IPv6 addresses of ipv4only.arpa, or `CMD off`, until it has worked.
    """

    def __init__(self, poller, clock, device, advertiser, hook):
        self._poller = poller
        self._clock = clock
        self._device = device
        self._advertiser = advertiser
        self._patience = Patience()
        self._hook = hook
        self._sock = None
        self._index = 0
        self._look_ms = 0
        self._hooked = None  # what the hook has been told
        self._wanted = False  # who was here before us may have told more
        self._hook_ms = 0
        self._said = None
        self.state = "there is no device %s" % device

    def tell(self, is_there, now_ms):
        """There is an exit, or there is none."""
        self._wanted = self._patience.judge(is_there, now_ms)
        self._advertiser.tell(self._wanted, now_ms)

    def withdraw(self, now_ms):
        """Have hosts forget it, for we are to end; return whether they have been told."""
        self._wanted = False
        self._advertiser.tell(False, now_ms)
        return self._sock is None or self._advertiser.is_withdrawn(now_ms)

    def deadline_ms(self):
        due_ms = self._look_ms
        if self._sock is not None:
            due_ms = min(due_ms, self._advertiser.deadline_ms(self._clock.now_ms()))
        return min(due_ms, self._hook_ms) if self._hooked != self._wanted else due_ms

    def tick(self, now_ms):
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + net.RETRY_MS
            self._follow()
        if self._sock is not None:
            try:
                if self._advertiser.pop_solicit(now_ms):
                    self._solicit()
                for frame in self._advertiser.pop_due(now_ms):
                    self._sock.send(frame)
            except OSError as error:
                self._close(sockets.error_text(error))
        if self._hooked != self._wanted and now_ms >= self._hook_ms:
            self._run_hook(now_ms)

    def _follow(self):
        """Open the socket where the device is, anew where it is another one than before."""
        index = _index_of(self._device)
        if index == self._index and (self._sock is not None or not index):
            return
        self._close("there is no device %s" % self._device)
        self._index = index
        if not index:
            return
        try:
            sock = socket.socket(AF_PACKET, socket.SOCK_RAW | sockets.CLOEXEC, 0)
            self._sock = sock
            sock.setblocking(False)
            attach_filter(sock, ONLY_ADVERTISEMENTS)
            sock.bind(packet_address(self._device, index, ETH_P_ALL))
            self._poller.add(sock, self._ready)
            self.state = "open"
        except OSError as error:
            self._close(sockets.error_text(error))

    def _ready(self):
        now_ms, sock = self._clock.now_ms(), self._sock
        try:
            for _ in range(READS_MAX):
                sockets.peek(sock)  # type: ignore[arg-type]
                frame, source = sock.recvfrom(FRAME_BYTES)  # type: ignore[union-attr]
                is_ours = (source[10] if IS_MICRO else source[2]) == OUTGOING
                if self._advertiser.hear(frame, is_ours, now_ms):
                    router = format_ipv6(frame[22:38])
                    net.log("%s: %s advertises itself as a router to our clients" % (self._device, router))
        except OSError as error:
            if sockets.error_number(error) != sockets.EAGAIN:
                self._close(sockets.error_text(error))

    def _solicit(self):
        """Ask the node's own daemon to advertise: it hears what goes to all routers from this very node."""
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, self._device.encode() + b"\0")
            sock.setsockopt(net.IPPROTO_IPV6, MULTICAST_HOPS, HOP_LIMIT)
            sock.sendto(SOLICITATION, sockets.ip6_address(ALL_ROUTERS, 0, self._index))
        except OSError:
            pass  # without an address of the link yet; it is asked again
        sock.close()

    def _run_hook(self, now_ms):
        words = "off"
        if self._wanted:
            words = " ".join(
                ["on"] + [format_ipv6(embed(self._advertiser.pref64, 96, a)) for a in WELL_KNOWN]
            )
        if self._hook is None or os.system(self._hook + " " + words) == 0:
            self._hooked = self._wanted
            return
        self._hook_ms = now_ms + net.RETRY_MS
        if self._said != words:
            self._said = words
            net.log("`%s %s` failed; tried again every second" % (self._hook, words))

    def describe(self):
        """Return what people are shown."""
        advertiser = self._advertiser
        heard = advertiser.heard
        return {
            "told": advertiser.told,
            "state": self.state,
            "sent": advertiser.sent,
            "router": None if heard is None else format_ipv6(heard.source),
            "lifetime_s": None if heard is None else heard.lifetime_s,
            "others": [format_ipv6(router) for router in advertiser.others],
        }

    def _close(self, why):
        self.state = why
        if self._sock is not None:
            self._poller.close(self._sock)
            self._sock = None


def _index_of(device):
    """Return the index of a device, 0 if there is none."""
    try:
        with open("/sys/class/net/%s/ifindex" % device) as file:
            return int(file.read())
    except OSError:
        return 0
