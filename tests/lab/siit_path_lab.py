# SPDX-License-Identifier: ISC
"""A whole path through siit: client --IPv4-- clat --IPv6-- plat --IPv4-- server, a daemon on clat and on plat."""

import socket
import subprocess
import threading

import pytest
from siit_lab import CLAT_RULES, DEADLINE_S
from waiting import wait_until

PLAT_RULES = (
    "local.v4 0.0.0.0/0 local.v6 fd00:64:2::/96 local.style RFC6052 "
    "remote.v4 10.1.0.0/24 remote.v6 fd00:64:1::/96 remote.style RFC6052"
)
CLIENT, SERVER = "10.1.0.2", "10.9.0.2"


def join(a, device_a, b, device_b):
    ends = (device_a, "netns", a.name, "type", "veth", "peer", "name", device_b, "netns", b.name)
    subprocess.run(["ip", "link", "add", *ends], check=True)
    a.run("ip", "link", "set", device_a, "up")
    b.run("ip", "link", "set", device_b, "up")


@pytest.fixture(params=["slow", "fast"])
def path(namespaces, request):
    """client, clat, plat, server, all configured; with and without the fast path."""
    client, clat, plat, server = namespaces("client", "clat", "plat", "server")
    join(client, "up0", clat, "down0")
    join(clat, "up0", plat, "down0")
    join(plat, "up0", server, "down0")
    for node, device, address in (
        (client, "up0", f"{CLIENT}/24"),
        (clat, "down0", "10.1.0.1/24"),
        (clat, "up0", "fd00:1::1/64"),
        (plat, "down0", "fd00:1::2/64"),
        (plat, "up0", "10.9.0.1/24"),
        (server, "down0", f"{SERVER}/24"),
    ):
        node.run("ip", "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
    client.run("ip", "route", "add", "default", "via", "10.1.0.1")
    server.run("ip", "route", "add", "default", "via", "10.9.0.1")
    clat.run("ip", "route", "add", "fd00:64:2::/96", "via", "fd00:1::2")
    plat.run("ip", "route", "add", "fd00:64:1::/96", "via", "fd00:1::1")
    for node, device, rules in ((clat, "clat", CLAT_RULES), (plat, "plat", PLAT_RULES)):
        node.options = ("--fast", "on" if request.param == "fast" else "off")
        node.start_siit()
        node.ctl(f"add {device}", f"config {device} {rules}")
        node.run("ip", "link", "set", device, "up")
    clat.run("ip", "route", "add", "10.9.0.0/24", "dev", "clat", "mtu", "1480")
    clat.run("ip", "route", "add", "fd00:64:1::/96", "dev", "clat")
    plat.run("ip", "route", "add", "10.1.0.0/24", "dev", "plat", "mtu", "1480")
    plat.run("ip", "route", "add", "fd00:64:2::/96", "dev", "plat")
    # a fresh veth takes a second or two until neighbour discovery works on it
    wait_until(
        lambda: " 0% packet loss" in client.run("ping", "-c1", "-W1", SERVER, check=False).stdout, "a ping"
    )
    return client, clat, plat, server


def connect(client, server, port=7000):
    """A TCP connection through the path: the client's end and the server's."""
    listener = server.socket_in(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((SERVER, port))
    listener.listen()
    near = client.socket_in(socket.AF_INET, socket.SOCK_STREAM)
    near.connect((SERVER, port))
    far, _ = listener.accept()
    far.settimeout(DEADLINE_S)
    listener.close()
    return near, far


def receive_exactly(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(1 << 20)
        assert part, f"the connection ended after {len(data)} bytes"
        data += part
    return bytes(data)


def transfer(near, far, data):
    sender = threading.Thread(target=near.sendall, args=(data,))
    sender.start()
    assert receive_exactly(far, len(data)) == data
    sender.join()
