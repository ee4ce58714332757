# SPDX-License-Identifier: ISC
"""The translators that tests can be run against: each a device in a network namespace of its own.

A translator takes a device's pairs and packets, and gives packets. What a machine does not have is skipped, and the
reason says what would have to be there.
"""

import contextlib
import hashlib
import os
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conformance import MTU_BYTES
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from siit_lab import DEADLINE_S, ROOT, Namespace

from nat46 import KernelTarget, Nat46Error, SiitTarget, Translator

DEVICE = "clat"
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4
MAC = "02:00:00:00:00:46"  # of a device that packets are sent to, where it has one
QUIET = ("net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")  # what comes out is not routed


class Pairs:
    """A translator with nat46's language, whose devices take and give packets."""

    def wire(self, rules):
        """Something that packets can be sent into, with rules (of conformance.py) in force."""
        for device in self.translator.list():
            self.translator.delete(device.name)
        self.translator.create(DEVICE, rules.pairs)
        self.node.run("ip", "link", "set", DEVICE, "mtu", MTU_BYTES, "up")
        self.node.run("sysctl", "-qw", *QUIET)
        return Wire(self.node, {4: DEVICE, 6: DEVICE}, bytes(rules.marker))

    def close(self):
        with contextlib.suppress(Nat46Error):
            for device in self.translator.list():
                self.translator.delete(device.name)
        self.node.close()


class Siit(Pairs):
    """siit in user space: its daemon in the namespace."""

    name = "siit"

    def __init__(self, folder, namespace):
        self.node = Namespace(namespace, folder)
        self.node.start_siit("--queues", "1")  # so that a marker does not pass another flow's packet
        self.target = SiitTarget(str(self.node.socket))
        self.translator = Translator(self.target)

    @property
    def version(self):
        done = subprocess.run(
            ["git", "-C", ROOT, "log", "-1", "--format=%h", "siit"], capture_output=True, text=True
        )
        return f"siit of {done.stdout.strip() or 'no commit'}"


class Module(Pairs):
    """The kernel module, from the file that NAT46_KO names, unless it is loaded already."""

    name = "nat46"

    def __init__(self, folder, namespace):
        if not Path("/proc/net/nat46/control").exists():
            file = os.environ.get("NAT46_KO")
            if not file:
                pytest.skip("no kernel module nat46: NAT46_KO=/path/nat46.ko names none")
            subprocess.run(["modprobe", "nf_defrag_ipv6"], check=False, capture_output=True)
            done = subprocess.run(["insmod", file], check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.fail(f"insmod {file}: {done.stderr.strip()}")
        self.node = Namespace(namespace, folder)
        self.target = KernelTarget(namespace=namespace)
        self.translator = Translator(self.target)

    @property
    def version(self):
        """NAT46_VERSION if somebody says it, for the module does not know it."""
        file = os.environ.get("NAT46_KO")
        made = f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}" if file else "as loaded"
        return f"nat46 {os.environ.get('NAT46_VERSION') or made}"


class Jool:
    """Jool in SIIT mode. It has no device and another language: packets come and go by a link for each version."""

    name = "jool"
    INSTANCE = "siit"  # of Jool, one in a namespace

    def __init__(self, folder, namespace):
        if not shutil.which("jool_siit") or subprocess.run(["modprobe", "jool_siit"], check=False).returncode:
            pytest.skip("no Jool: neither jool_siit nor its kernel module are here")
        self.node, self.peer = Namespace(namespace, folder), Namespace(f"{namespace}p", folder)
        for version, mtu in (("4", 1500), ("6", MTU_BYTES)):
            # without ARP and neighbour discovery, and without an answer from the other end
            link = ["link", "add", f"jool{version}", "address", MAC, "mtu", mtu, "type", "veth"]
            self.node.run("ip", *link, "peer", "name", f"peer{version}", "mtu", 1500, "netns", self.peer.name)
            for node, name in ((self.node, "jool"), (self.peer, "peer")):
                node.run("ip", "link", "set", f"{name}{version}", "arp", "off", "addrgenmode", "none", "up")
            self.node.run("ip", f"-{version}", "route", "add", "default", "dev", f"jool{version}")
        self.node.run("ip", "address", "add", "192.0.2.254/32", "dev", "jool4")
        self.node.run("ip", "address", "add", "2001:db8:ffff::1/128", "dev", "jool6", "nodad")
        self.node.run("sysctl", "-qw", *QUIET, "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        self.peer.run("sysctl", "-qw", *QUIET)

    @property
    def version(self):
        return f"Jool {self.node.run('jool_siit', '--version').stdout.strip()}"

    def wire(self, rules):
        """Something that packets can be sent into, with rules (of conformance.py) in force."""
        self.node.run("jool_siit", "instance", "remove", self.INSTANCE, check=False)
        words = ["jool_siit", "instance", "add", self.INSTANCE, "--netfilter", "--pool6", rules.pool6]
        self.node.run(*words)
        jool = ["jool_siit", "-i", self.INSTANCE]
        self.node.run(*jool, "global", "update", "rfc6791v4-prefix", "192.0.0.8/32")
        for pair in rules.eamt:
            self.node.run(*jool, "eamt", "add", *pair.split())
        return Wire(self.peer, {4: "peer4", 6: "peer6"}, bytes(rules.marker))

    def close(self):
        self.node.run("jool_siit", "instance", "remove", self.INSTANCE, check=False)
        self.node.close()
        self.peer.close()


KINDS = {kind.name: kind for kind in (Siit, Module, Jool)}


class Wire:
    """What comes out of a translator for the packets that are sent into it: a device for each IP version.

    A marker follows each packet, and what comes before the marker's translation is the answer: nothing has to be
    waited for that does not come. The packets' way ends here: nobody routes them.
    """

    def __init__(self, node, devices, marker):
        self.devices, self.marker = devices, marker
        self.into = node.socket_in(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.outs = []
        for device in sorted(set(devices.values())):
            out = node.socket_in(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            out.bind((device, ETH_P_ALL))
            self.outs.append(out)

    def send(self, packets):
        """Send packets (bytes), one after the other; return those that come out."""
        token, back = os.urandom(8), os.urandom(8)
        for packet in (*packets, with_payload(IP(self.marker), token)):
            self._put(packet)
        found = self._until(token)
        if len(self.outs) > 1:
            # the links have no common order, so a marker comes back by the other one, as an answer to the first
            (there,) = (IPv6(data) for data in found if data.endswith(token))
            self._put(with_payload(IPv6(src=there.dst, dst=there.src) / UDP(sport=9, dport=9), back))
            found += self._until(back)
        return [data for data in found if not data.endswith((token, back)) and not is_chatter(data)]

    def _put(self, packet):
        version = packet[0] >> 4
        kind = ETH_P_IP if version == 4 else ETH_P_IPV6
        self.into.sendto(packet, (self.devices[version], kind, 0, 0, bytes.fromhex(MAC.replace(":", ""))))

    def _until(self, token):
        found, end = [], time.monotonic() + DEADLINE_S
        while not any(data.endswith(token) for data in found):
            assert time.monotonic() < end, "the marker came through"
            found += self._receive()
        return found

    def _receive(self):
        found = []
        for out in select.select(self.outs, [], [], 0.1)[0]:
            data, (_, _, kind, *_) = out.recvfrom(65536)
            if kind != PACKET_OUTGOING:
                found.append(data)
        return found

    def close(self):
        for each in (self.into, *self.outs):
            each.close()


def with_payload(packet, payload):
    """The bytes of a UDP packet with a payload, its lengths and checksums computed by scapy."""
    made = packet.copy() / payload
    for layer, field in ((IP, "len"), (IP, "chksum"), (IPv6, "plen"), (UDP, "len"), (UDP, "chksum")):
        if layer in made and field in made[layer].fields:
            delattr(made[layer], field)
    return bytes(made)


def is_chatter(data):
    """What kernels say by themselves: router solicitations, multicast reports."""
    return data[0] >> 4 == 6 and data[24] == 0xFF


def make(kind, folder, namespace):
    """A translator of a kind, with `node` and `wire(rules)`; pytest.skip where it cannot be had.

    Those with nat46's language have `target` and `translator`, too.
    """
    return KINDS[kind](folder, namespace)
