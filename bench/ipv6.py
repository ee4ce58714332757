# SPDX-License-Identifier: ISC
"""IPv6 of clients: how soon a newcomer that says nothing unasked is answered, and what a flood of solicitations costs.

The newcomers have addresses of router advertisements, the one for privacy too. What is told of them is the slowest
first echo across the mesh. The flood are solicitations of 1,000 MACs, each from an address of its own, at 500 a second.
"""

import os
import time
from collections.abc import Callable

from bench.roam_daemon import cpu_s, rss_kib
from sdk.lab import Lab, LabError
from sdk.lab.plan import short_name
from sdk.lab.topology_reader import parse_topology

NEWCOMERS = 5
MACS, PER_S, FLOOD_S = 1000, 500, 10
READY_S = 60.0
MESH = "\n".join(
    [
        '[lab]\nroaming = true\n[nodes.a]\nrole = "both"\n[nodes.b]\nrole = "clat"',
        '[[links]]\nbetween = ["a", "b"]',
        *(f'[clients.phone{number}]\nnode = "b"' for number in range(NEWCOMERS)),
        '[clients.crowd]\nnode = "b"\n',
    ]
)
FLOOD = """
import socket, sys, time
from l3roamd_py.kernel.ndp import encode_solicitation
device, node_mac, node, prefix, macs, per_s, flood_s = sys.argv[1:]
node_mac, node, prefix = bytes.fromhex(node_mac), bytes.fromhex(node), bytes.fromhex(prefix)
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((device, 0))
frames = []
for number in range(int(macs)):
    mac = b"\\2\\xbb\\0\\0" + number.to_bytes(2, "big")
    address = prefix + mac[:3] + b"\\xff\\xfe" + mac[3:]
    frames.append(node_mac + mac + b"\\x86\\xdd" + encode_solicitation(mac, address, node))
begun_s = time.monotonic()
for number in range(int(per_s) * int(flood_s)):
    raw.send(frames[number % len(frames)])
    time.sleep(max(0.0, begun_s + number / int(per_s) - time.monotonic()))
"""


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return what the module's text lists. Raises LabError when a newcomer gets no answer."""
    topology = parse_topology(MESH, "the bench's mesh")
    with Lab(topology, name=f"bench-{os.getpid()}", log=say) as lab:
        lab.wait_ready()  # babel knows the way, and IPv4 has been used; IPv6 has not
        slowest_ms = max(first_packet_ms(lab, f"phone{number}") for number in range(NEWCOMERS))
        say(f"ipv6: the slowest of {NEWCOMERS} first packets was answered after {slowest_ms} ms")
        percent, kib = flood(lab)
        say(f"ipv6: {percent} % of a CPU for {PER_S} solicitations a second, {kib} KiB after them")
        return {
            "ipv6.first_packet_ms": slowest_ms,
            "ipv6.events_cpu_percent": percent,
            "ipv6.events_rss_kib": kib,
        }


def first_packet_ms(lab: Lab, client: str) -> float:
    """Return how long the first packet of a client's address for privacy waited for its answer."""
    address, far = wait_for_address(lab, client), lab.plan.node_address(lab.node("a"))
    echo = ["ping", "-6", "-c", "1", "-W", "5", "-I", address, far]
    found = lab.exec(client, echo, check=False).stdout.partition("time=")[2].split()
    if not found:
        raise LabError(f"{client}: no answer to its first packet")
    return float(found[0])


def wait_for_address(lab: Lab, client: str) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if len(found := lab.ipv6_addresses(client)) == 2:
            return found[0]
        time.sleep(0.1)
    raise LabError(f"{client}: no address for privacy")


def flood(lab: Lab) -> tuple[float, int]:
    """Return percent of a CPU that the daemon took for the flood, and its memory in KiB after it."""
    (pid,) = lab.running.daemons()["b"]["l3roamd"]
    mac = lab.site.next_node_mac
    node = bytes.fromhex("fe80" + 12 * "0") + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    prefix = lab.site.prefix6.network_address.packed[:8]
    words = [mac.hex(), node.hex(), prefix.hex(), str(MACS), str(PER_S), str(FLOOD_S)]
    used, begun_s = cpu_s(pid), time.monotonic()
    lab.exec("crowd", ["python", "-c", FLOOD, short_name("r", "b"), *words], timeout_s=FLOOD_S * 6)
    percent = (cpu_s(pid) - used) / (time.monotonic() - begun_s) * 100
    return round(percent, 1), rss_kib(pid)
