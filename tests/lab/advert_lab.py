# SPDX-License-Identifier: ISC
"""A node with prefixd, radvd and dnsmasq on a link, and a host at its other end: for tests, and for the bench."""

import json
import os
import re
import subprocess
import sys
import time

from prefixd_lab import REPOSITORY, FakeBabeld, LineServer, Prefixd, plat, route
from waiting import wait_until

SOURCE = "fddd:1337:1337:a::c000:1"
A = plat(1)
PREF64 = "fddd:1337:1338::/96"
PREF64_OPTION = bytes.fromhex("2602 0708 fddd 1337 1338 0000 0000 0000")  # RFC 8781: 1800 s, a /96
WITHDRAWN = PREF64_OPTION[:2] + bytes(2) + PREF64_OPTION[4:]
ROUTER_LIFETIME_S = 900
RADVD = f"""interface host {{
    AdvSendAdvert on;
    MinRtrAdvInterval 200;
    MaxRtrAdvInterval 600;
    AdvDefaultLifetime {ROUTER_LIFETIME_S};
    AdvCurHopLimit 63;
    AdvOtherConfigFlag on;
    prefix fd46:4646:4646::/64 {{ AdvOnLink off; }};
}};
"""
LISTEN = """
import socket, sys, time
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86dd))
sock.bind(("node", 0x86dd))
print("ready", flush=True)
while True:
    packet = sock.recv(2048)
    if packet[6] == 58 and packet[40] == 134:
        print(time.monotonic(), packet.hex(), flush=True)
"""


class Node:
    """A node with an exit on itself, radvd and dnsmasq on the device `host`, and a listener at the other end."""

    def __init__(self, spaces, folder, python):
        self.spaces, self.folder, self.python = spaces, folder, python
        spaces.add("node")
        spaces.add("host")
        spaces.link("node", "host")
        spaces.run("node", "ip", "addr", "add", SOURCE + "/128", "dev", "lo", "nodad")
        spaces.run("node", "ip", "addr", "add", "10.46.0.1/16", "dev", "host")
        spaces.run("node", "ip", "-6", "route", "add", "local", A + "/96", "dev", "lo")
        spaces.run("host", "sysctl", "-qw", "net.ipv6.conf.node.accept_ra=2")
        (folder / "radvd.conf").write_text(RADVD)
        self.babel = FakeBabeld(folder / "babel", [route(A, 300)])
        self.translator = LineServer(folder / "control")
        self.hosts = folder / "hosts"
        self.listener = spaces.start(
            "host", [sys.executable, "-c", LISTEN], stdout=(folder / "heard").open("w")
        )
        wait_until(lambda: (folder / "heard").read_text(), "the listener")

    def start_radvd(self):
        words = ["-n", "-C", self.folder / "radvd.conf", "-p", self.folder / "radvd.pid", "-m", "stderr"]
        self.spaces.start("node", ["radvd", *map(str, words)], stderr=subprocess.DEVNULL)

    def start_dnsmasq(self):
        words = [
            *(
                "dnsmasq",
                "--conf-file=/dev/null",
                "--keep-in-foreground",
                "--user=root",
                "--no-resolv",
                "--no-hosts",
            ),
            *(
                "--interface=host",
                "--bind-interfaces",
                "--except-interface=lo",
                "--no-ping",
                "--dhcp-authoritative",
            ),
            *(f"--pid-file={self.folder}/dnsmasq.pid", f"--dhcp-leasefile={self.folder}/leases"),
            *("--dhcp-range=10.46.0.2,10.46.255.254,255.255.0.0,120", f"--addn-hosts={self.hosts}"),
            f"--dhcp-optsfile={self.hosts}/.464xlat-options",
        ]
        self.spaces.start("node", words, stderr=subprocess.DEVNULL)
        wait_until((self.folder / "dnsmasq.pid").exists, "dnsmasq")

    def start_prefixd(self, **options):
        hook = f"XLAT464_HOSTS={self.hosts} XLAT464_DNSMASQ={self.folder}/dnsmasq.pid"
        given = {
            "source": SOURCE,
            "probe_ipv4": "9.9.9.9",
            "pref64": PREF64,
            "client_device": "host",
            "dns6": "198.51.100.53",
            "link_mtu": 1374,
            "hosts_hook": f"{hook} {REPOSITORY}/files/prefixd/lib/464xlat/tell-hosts host 300",
            **options,
        }
        self.prefixd = Prefixd(self.spaces, "node", self.folder, self.python, **given)
        return self.prefixd

    def hosts_status(self):
        return (self.prefixd.status() or {}).get("hosts") or {}

    def kill_exit(self):
        """Its packets vanish; return when."""
        rules = "add table ip6 t\nadd chain ip6 t in { type filter hook input priority 0; }\n"
        rules += "add rule ip6 t in icmpv6 type echo-request drop\n"
        at_s = time.monotonic()
        subprocess.run(
            self.spaces.spaces["node"].command("nft", "-f", "-"), input=rules, text=True, check=True
        )
        return at_s

    def revive_exit(self):
        self.spaces.run("node", "nft", "delete", "table", "ip6", "t")

    def heard(self):
        """Return the advertisements at the host: when, and the packet."""
        lines = (self.folder / "heard").read_text().split("\n")[1:-1]
        return [(float(at_s), bytes.fromhex(packet)) for at_s, packet in (line.split() for line in lines)]

    def start_handset(self):
        environment = {
            **os.environ,
            "HANDSET_RUN": str(self.folder / "handset"),
            "PYTHONPATH": str(REPOSITORY),
        }
        words = [sys.executable, "-m", "sdk.handset", "node"]
        return self.spaces.start("host", words, stdout=(self.folder / "said").open("w"), env=environment)

    def handset_says(self):
        lines = (self.folder / "said").read_text().split("\n")[:-1]
        return json.loads(lines[-1]) if lines else {}

    def dhcp_log(self):
        file = self.folder / "handset/dhcpcd.log"
        return file.read_text() if file.exists() else ""

    def address_of_host(self):
        return re.findall(
            r"inet (10\.46\.\S+)/", self.spaces.run("host", "ip", "-4", "addr", "show", "dev", "node")
        )

    def withdrawn(self, since_s=0.0):
        """Return when PREF64 was taken back."""
        return [at_s for at_s, packet in self.heard() if at_s > since_s and packet[56:72] == WITHDRAWN]

    def announced(self, since_s=0.0):
        """Return when PREF64 was announced."""
        return [at_s for at_s, packet in self.heard() if at_s > since_s and packet[56:72] == PREF64_OPTION]
