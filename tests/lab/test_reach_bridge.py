# SPDX-License-Identifier: ISC
"""Two sites in one Ethernet, whose hosts know nothing of the narrow way between them.

    host .2.9, MTU 1500 -- taps-2, MTU 1382 -- server taps -- taps-88, MTU 1382 -- host .88.9, MTU 1500

The bridge's ports are veths, for kernels without GRE.
"""

import contextlib
import os
import shutil
import socket
import subprocess

import pytest
from reach_lab import ROOT, Machine, Server, address, cable, network_namespace

from reach import keys, reader, steps
from reach.firewall import ruleset_text
from reach.kernel import Kernel
from reach.plan import Br
from reach.plan_publish import make
from reach.render.commands import Place, device_commands

HAS_TABLE = "nft add table bridge x && nft add chain bridge x y '{ type filter hook forward priority 0; }'"
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not shutil.which("ethtool"), reason="no ethtool"),
    pytest.mark.skipif(
        subprocess.run(["unshare", "-n", "sh", "-c", HAS_TABLE], capture_output=True).returncode != 0,
        reason="no nftables for bridges",
    ),
]
SIZE = 300_000


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_a_large_transfer_between_two_sites_fits_the_way(family):
    plan = make(reader.read((ROOT / "reach/examples/bridge.toml").read_text()), "server")
    with contextlib.ExitStack() as stack:
        server, one, other = (Machine() for _ in range(3))
        for machine in (server, one, other):
            stack.callback(machine.end)
        # on a kernel that has br_netfilter, frames meet the rules of routing too; most do not load it
        server.run(
            "sysctl", "-qe", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"
        )
        (bridge,) = (device for device in plan.devices if isinstance(device, Br))
        for each in device_commands(plan, Place(keys.Keys({}, {})), bridge):
            server.run("sh", "-c", each.up)
        for port, machine, number in (("taps-2", one, 2), ("taps-88", other, 88)):
            cable(server, port, machine, "eth0")
            server.run("ip", "link", "set", port, "mtu", "1382", "master", "taps")
            machine.run(
                "ethtool", "--offload", "eth0", "tso", "off", "gso", "off"
            )  # a super-frame fits everywhere
            address(machine, "eth0", f"192.168.{number}.9/16", f"fd00::{number}/64")
        server.run("nft", "-f", "-", input=ruleset_text(plan.firewall))
        target = "192.168.88.9" if family == socket.AF_INET else "fd00::88"
        serving = Server(other, target, 80, lambda connection: connection.sendall(bytes(SIZE)), family)
        stack.callback(serving.close)
        with one.connect(target, 80, family, timeout_s=60) as connection:
            got = 0
            while part := connection.recv(1 << 16):
                got += len(part)
        assert got == SIZE


def test_both_tables_are_made_and_taken_back(tmp_path):
    plan = make(reader.read((ROOT / "reach/examples/bridge.toml").read_text()), "server")
    known = keys.Keys(
        {"server": keys.make()}, dict.fromkeys(("server", "office"), keys.public_of(keys.make()))
    )
    tables = [step for step in steps.from_plan(plan, known, str(tmp_path)) if step.kind == "nft"]
    with network_namespace(), Kernel(tmp_path) as kernel:
        for step in tables:
            kernel.do(step, {})
        assert listed() == ["table inet reach", "table bridge reach"]
        for step in tables:
            kernel.undo(step, {})
        assert listed() == []


def listed():
    return subprocess.run(
        ["nft", "list", "tables"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
