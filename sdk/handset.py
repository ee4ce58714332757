# SPDX-License-Identifier: ISC
"""A host that does without IPv4 where the network lets it, as Android and iOS do: `python3 -m sdk.handset [DEVICE]`.

The kernel makes its addresses of router advertisements (SLAAC, one for privacy), dhcpcd asks for DHCP option 108 and
then leaves IPv4 alone (RFC 8925), tayga is its CLAT (RFC 6877, 7915). What is here is what these lack. It reads PREF64
(RFC 8781), has the CLAT on an address of its own while there is one and no lease, and answers neighbours for it.

Prints a line of JSON for each change: {"at_s", "pref64", "clat", "mtu", "dns"}; at_s is of the monotonic clock.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 133, 134
ICMP6_FILTER = 1  # option of the level IPPROTO_ICMPV6: RFC 3542 section 3.2
PREFIX, MTU, RDNSS, PREF64 = 3, 5, 25, 38
SIOCGIFADDR = 0x8915  # linux/sockios.h
LENGTHS = (96, 64, 56, 48, 40, 32)  # by prefix length code: RFC 8781 section 4
OWN_IPV4, TAYGA_IPV4 = "192.0.0.4", "192.0.0.2"  # of 192.0.0.0/29, for this use: RFC 7335
LESS = 28  # what IPv4 has to be shorter by: a longer header, and a fragment header
DHCPCD = "build/unpacked/usr/sbin/dhcpcd"
RUN = Path(os.environ.get("HANDSET_RUN", "/run/handset"))
# dhcpcd keeps leases and its socket where others would find them
ALONE = """mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/dhcpcd && cp "$0" /var/lib/dhcpcd.conf &&
mount -t tmpfs tmpfs /run && exec "$@" """
DHCPCD_CONF = """
noipv6
nohook resolv.conf, hostname, ntp.conf, yp, wpa_supplicant
option ipv6_only_preferred, subnet_mask, routers, domain_name_servers, interface_mtu
timeout 0
"""


@dataclass
class Network:
    """What router advertisements have said, of all that are still valid. Pure.

    until: option or prefix -> when it ends (seconds of the clock)
    """

    pref64: str = ""
    pref64_until_s: float = 0.0
    prefix: bytes = b""
    mtu: int = 1500
    dns: list[str] = field(default_factory=list)

    def hear(self, message: bytes, now_s: float) -> None:
        """Take an advertisement (from its ICMPv6 type on); one that is damaged says nothing."""
        if len(message) < 16 or message[0] != ADVERTISEMENT:
            return
        at = 16
        while at + 8 <= len(message) and message[at + 1]:
            option = message[at : at + 8 * message[at + 1]]
            at += 8 * message[at + 1]
            if len(option) != 8 * option[1]:
                return
            self._take(option, now_s)

    def _take(self, option: bytes, now_s: float) -> None:
        kind = option[0]
        if kind == PREF64 and len(option) == 16:
            (scaled,) = struct.unpack("!H", option[2:4])
            code, lifetime_s = scaled & 7, scaled >> 3 << 3
            if code < len(LENGTHS):
                address = ipaddress.IPv6Address(option[4:16] + bytes(4))
                self._take_pref64(f"{address}/{LENGTHS[code]}", now_s + lifetime_s, now_s)
        elif kind == PREFIX and len(option) == 32 and option[3] & 0x40 and option[2] == 64:
            self.prefix = option[16:24]
        elif kind == MTU and len(option) == 8:
            (mtu,) = struct.unpack("!I", option[4:8])
            self.mtu = mtu if 1280 <= mtu <= 1500 else self.mtu
        elif kind == RDNSS and len(option) >= 24:
            found = [option[at : at + 16] for at in range(8, len(option), 16)]
            self.dns = [
                str(ipaddress.IPv6Address(each)) for each in found if struct.unpack("!I", option[4:8])[0]
            ]

    def _take_pref64(self, prefix: str, until_s: float, now_s: float) -> None:
        if until_s > now_s:
            self.pref64, self.pref64_until_s = prefix, until_s
        elif prefix == self.pref64:
            self.pref64 = ""

    def expire(self, now_s: float) -> None:
        if self.pref64 and now_s >= self.pref64_until_s:
            self.pref64 = ""


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"handset: `{' '.join(words)}`: {done.stderr.strip()}")


class Clat:
    """tayga between an IPv4 address of the host's own and an IPv6 address that nothing else of it has."""

    def __init__(self, device: str):
        self.device = device
        self.address = ""
        self.prefix = ""
        self.process: subprocess.Popen | None = None
        for key in (
            f"conf/{device}/accept_ra 2",  # or forwarding, which hands packets to tayga, would end it
            "conf/all/forwarding 1",
            f"conf/{device}/proxy_ndp 1",
            f"neigh/{device}/proxy_delay 0",
        ):
            path, _, value = key.partition(" ")
            Path("/proc/sys/net/ipv6", path).write_text(value)

    def start(self, network: Network) -> None:
        self.stop()
        self.prefix = network.pref64
        self.address = str(ipaddress.IPv6Address(network.prefix + b"\x02" + os.urandom(7)))
        config = RUN / "tayga.conf"
        config.write_text(
            f"tun-device clat\nipv4-addr {TAYGA_IPV4}\nprefix {self.prefix}\nmap {OWN_IPV4} {self.address}\n"
        )
        run("tayga", "-c", str(config), "--mktun")
        run("ip", "link", "set", "clat", "up")
        run("ip", "addr", "add", OWN_IPV4, "dev", "clat")
        mtu = str(network.mtu - LESS)
        run("ip", "route", "replace", "default", "dev", "clat", "mtu", mtu)
        run("ip", "-6", "route", "add", self.address, "dev", "clat")
        run("ip", "-6", "neigh", "add", "proxy", self.address, "dev", self.device)
        self.process = subprocess.Popen(
            ["tayga", "-c", str(config), "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            run("ip", "-6", "neigh", "del", "proxy", self.address, "dev", self.device)
            run("ip", "link", "del", "clat")
        self.address = self.prefix = ""


def open_icmp(device: str) -> socket.socket:
    """Return a raw socket that hears advertisements, and has asked for them."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    blocked = [0xFFFFFFFF] * 8
    blocked[ADVERTISEMENT >> 5] &= ~(1 << (ADVERTISEMENT & 31))
    sock.setsockopt(ICMPV6, ICMP6_FILTER, struct.pack("8I", *blocked))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    return sock


def solicit(sock: socket.socket, device: str) -> bool:
    try:
        sock.sendto(bytes((SOLICITATION,)) + bytes(7), ("ff02::2", 0, 0, socket.if_nametoindex(device)))
    except OSError:  # no address of the link yet
        return False
    return True


def has_ipv4(device: str) -> bool:
    """Whether the device has an address of DHCP's: then there is no CLAT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, SIOCGIFADDR, struct.pack("256s", device.encode()))
        except OSError:
            return False
    return True


def start_dhcp(device: str) -> subprocess.Popen:
    config = RUN / "dhcpcd.conf"
    config.write_text(DHCPCD_CONF)
    words = [dhcpcd(), "-4", "-B", "-f", "/var/lib/dhcpcd.conf", "-c", "/bin/true", device]
    with (RUN / "dhcpcd.log").open("ab") as log:
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", ALONE, str(config), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def dhcpcd() -> str:
    unpacked = Path(__file__).resolve().parents[1] / DHCPCD
    return str(unpacked) if unpacked.exists() else "dhcpcd"


def tell(network: Network, clat: Clat) -> None:
    said = {
        "at_s": time.monotonic(),
        "pref64": network.pref64,
        "clat": clat.address,
        "mtu": network.mtu,
        "dns": network.dns,
    }
    print(json.dumps(said), flush=True)


def main(arguments: Sequence[str]) -> int:
    device = arguments[0] if arguments else "eth0"
    RUN.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    network, clat, sock = Network(), Clat(device), open_icmp(device)
    dhcp = start_dhcp(device)
    has_asked = False
    known: tuple = ()
    try:
        while True:
            has_asked = has_asked or solicit(sock, device)
            if select.select([sock], [], [], 1.0)[0]:
                with contextlib.suppress(OSError):
                    network.hear(sock.recv(4096), time.monotonic())
            network.expire(time.monotonic())
            wanted = "" if has_ipv4(device) or not network.prefix else network.pref64
            if wanted != clat.prefix:
                clat.start(network) if wanted else clat.stop()
            now = (network.pref64, clat.address, network.mtu, network.dns)
            if now != known:
                known = now
                tell(network, clat)
    finally:
        clat.stop()
        dhcp.terminate()
        dhcp.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
