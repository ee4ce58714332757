# SPDX-License-Identifier: ISC
"""The translators that tests can be run against: each a device in a network namespace of its own.

A translator takes a device's pairs and packets, and gives packets. What a machine does not have is skipped, and the
reason says what would have to be there.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from test_siit_device import DEADLINE_S, Namespace

from nat46 import KernelTarget, SiitTarget, Translator

DEVICE = "clat"
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
PACKET_OUTGOING = 4
QUIET_S = 0.3  # without a packet, after one that must come


class Siit:
    """siit in user space: its daemon in the namespace."""

    name = "siit"

    def __init__(self, folder, namespace):
        self.node = Namespace(namespace, folder)
        self.node.start_siit()
        self.target = SiitTarget(str(self.node.socket))


class Module:
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


class Jool:
    """Jool in SIIT mode; it has no devices and another language, so it takes packets only, and not yet."""

    name = "jool"

    def __init__(self, folder, namespace):
        if not shutil.which("jool_siit") or subprocess.run(["modprobe", "jool_siit"], check=False).returncode:
            pytest.skip("no Jool: neither jool_siit nor its kernel module are here")
        pytest.skip("Jool is here, but nothing drives it yet")


KINDS = {kind.name: kind for kind in (Siit, Module, Jool)}


class Wire:
    """What the kernel would route into the device, and what comes out of it."""

    def __init__(self, node):
        node.run("ip", "link", "set", DEVICE, "up")
        # the packets' way ends here: nobody routes them
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
        self.into = node.socket_in(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.out = node.socket_in(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.out.bind((DEVICE, ETH_P_ALL))
        # routers solicit and multicast listeners report whenever they like
        self.node = node

    def send(self, packet):
        """Send a packet (bytes) into the device; return those that come out of it until it is quiet."""
        version = packet[0] >> 4
        self.into.sendto(packet, (DEVICE, ETH_P_IP if version == 4 else ETH_P_IPV6))
        found = []
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            self.out.settimeout(QUIET_S)
            try:
                data, (_, _, kind, *_) = self.out.recvfrom(65536)
            except TimeoutError:
                break
            if kind != PACKET_OUTGOING:
                found.append(data)
        return found

    def close(self):
        self.into.close()
        self.out.close()


def make(kind, folder, namespace):
    """A translator of a kind, with `target`, `translator` and `node`; pytest.skip where it cannot be had."""
    made = KINDS[kind](folder, namespace)
    made.translator = Translator(made.target)
    return made
