# SPDX-License-Identifier: ISC
"""Nodes of a lab that run a roaming daemon of version 0: the C l3roamd, or ours started by its command line.

Set L3ROAMD to a binary of https://github.com/freifunk-gluon/l3roamd (cmake, libnl-genl-3-dev, libjson-c-dev); without
one its tests are skipped.
"""

import json
import os
import socket
from pathlib import Path

import pytest
from waiting import wait_until

from sdk.lab.plan import ROAMING_SOCKET
from xlat464.address import format_ipv6, format_mac
from xlat464.node import management_address, node_client_address

L3ROAMD = os.environ.get("L3ROAMD", "")
NEEDS_C = pytest.mark.skipif(not L3ROAMD, reason="no C l3roamd: set L3ROAMD=/path/to/its/binary")
OURS, THEIRS = "ours", "theirs"  # whose daemon it is
C_DAEMON, C_SOCKET = (
    "c-l3roamd",
    "/run/c.sock",
)  # prefixd shall not find it: it waits for whoever is silent there
BOTH = [pytest.param(OURS), pytest.param(THEIRS, marks=NEEDS_C)]


def words(lab, node, *more):
    """What both take. Of an option that comes twice the last counts."""
    own = format_ipv6(management_address(lab.plan.clat_prefix(lab.node(node))))
    mesh = [word for device in lab.plan.babeld_devices(lab.node(node)) for word in ("-m", device)]
    prefixes = ["-p", str(lab.site.prefix6), "-P", str(lab.site.node_client_prefix6)]
    bridge = ["-b", "br-client", "-i", "br-client"]
    return ["-v", *prefixes, *mesh, *bridge, "-t", "254", "-a", own, *more]


def end(lab, node):
    """End a node's roaming daemon, and remove what it made."""
    for name in ("l3roamd", C_DAEMON):
        lab.running.stop(node, name)
    lab.exec(node, ["l3roamd_py", "flush", "--node-client-prefix", str(lab.site.node_client_prefix6)])


def run(lab, node, whose, *more):
    """Have a node run a daemon of version 0 in the place of the one that it has."""
    end(lab, node)
    if whose == OURS:
        lab.programs.start_l3roamd(lab.node(node), ["l3roamd_py", *words(lab, node, *more)])
        return
    command = [str(Path(L3ROAMD).resolve()), *words(lab, node, *more), "-s", C_SOCKET]
    lab.running.daemon(node, C_DAEMON, command)
    wait_until(lambda: ask(lab, node, "get_prefixes"), f"the C daemon of {node}")


def socket_of(lab, node):
    return C_SOCKET if C_DAEMON in lab.running.daemons()[node] else ROAMING_SOCKET


def ask(lab, node, line):
    """What a node's daemon answers, read as JSON; {} if that is none."""
    return lab.running.ask(node, socket_of(lab, node), line)


def connect(lab, node, timeout_s=5.0):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(timeout_s)
    peer.connect(f"/proc/{lab.running.pids[node]}/root{socket_of(lab, node)}")
    return peer


def say(lab, node, line):
    """What a node's daemon answers, as text."""
    with connect(lab, node) as peer:
        peer.sendall(line.encode() + b"\n")
        return b"".join(iter(lambda: peer.recv(65536), b"")).decode()


def addresses(lab, node, client):
    """A client's addresses at a node, each with its state; {} if the node does not know the client."""
    listed = ask(lab, node, "get_clients").get("clientlist", {})
    about = listed.get(format_mac(lab.client(client).mac), {}).get("addresses", {})
    return {address: each["state"] for address, each in about.items()}


def node_client(lab, client):
    """A client's node-client address."""
    prefix = lab.site.node_client_prefix6.network_address.packed
    return format_ipv6(node_client_address(prefix, lab.client(client).mac))


def serving(lab, client):
    """The nodes that have a client's node-client address."""
    own = node_client(lab, client)
    shown = {
        node.name: lab.exec(node.name, ["ip", "-6", "addr", "show", "dev", "lo"]).stdout
        for node in lab.topology.nodes
    }
    return [name for name, text in shown.items() if f"{own}/" in text]


def private(lab, client):
    """A client's address for privacy, once it has both."""
    wait_until(lambda: len(lab.ipv6_addresses(client)) == 2, f"the two addresses of {client}")
    return lab.ipv6_addresses(client)[0]


def reaches(lab, node, address):
    return lab.exec(node, ["ping", "-6", "-c", "1", "-W", "2", address], check=False).returncode == 0


def speak(lab, client, address):
    """A client asks for its router, as it does now and then, and sends something; always true."""
    here = lab.node_of(client)
    far = next(lab.plan.node_address(node) for node in lab.topology.nodes if node.name != here)
    lab.exec(client, ["ip", "-6", "neigh", "flush", "dev", "eth0"], check=False)
    lab.exec(client, ["ping", "-6", "-c", "1", "-W", "1", "-I", address, far], check=False)
    return True


def routes(lab, node, table):
    """The host routes of a node's clients in a table."""
    words = ["ip", "-j", "-6", "route", "show", "table", str(table), "proto", "158"]
    found = json.loads(lab.exec(node, words, check=False).stdout or "[]")
    return {each.pop("dst"): each for each in found if each["dev"] == "br-client"}
