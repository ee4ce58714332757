# SPDX-License-Identifier: ISC
"""What the relay's tests use: an IPv4-only caller and an IPv6-only target, each in a namespace of its own.

caller 203.0.113.2, .3 --IPv4-- 203.0.113.7 relay 2001:db8:1::1 --IPv6-- 2001:db8:1::10 target
"""

import contextlib
import socket
import struct
import threading

import pytest
from reach_lab import Machine, Relay, Server, address, cable, echo

PUBLIC, TARGET = "203.0.113.7", "2001:db8:1::10"
RESET = struct.pack("ii", 1, 0)
ECHO = f"tcp {PUBLIC} 80 {TARGET} 8080"


@contextlib.contextmanager
def relay_net():
    """caller, relay and target, with an echo service for TCP at the target."""
    with contextlib.ExitStack() as stack:
        caller, relay, target = machines = [Machine() for _ in range(3)]
        for machine in machines:
            stack.callback(machine.end)
        cable(caller, "eth0", relay, "eth0")
        cable(relay, "eth1", target, "eth0")
        address(caller, "eth0", "203.0.113.2/24", "203.0.113.3/24")
        address(relay, "eth0", f"{PUBLIC}/24")
        address(relay, "eth1", "2001:db8:1::1/64")
        address(target, "eth0", f"{TARGET}/64")
        for machine in machines:
            machine.run("sysctl", "-qw", "net.ipv4.tcp_fin_timeout=5", "net.core.somaxconn=8192")
        stack.callback(Server(target, TARGET, 8080, echo).close)
        yield caller, relay, target


@contextlib.contextmanager
def relays(machine, folder):
    """A function that starts a relay on a machine; it ends with the context."""
    running = []

    def start(config, *options, **more):
        running.append(Relay(machine, folder, config + "\n", *options, **more))
        return running[-1]

    try:
        yield start
    finally:
        for relay in running:
            relay.end()


@pytest.fixture(scope="module")
def net():
    with relay_net() as machines:
        yield machines


@pytest.fixture
def relay_of(net, tmp_path):
    with relays(net[1], tmp_path) as start:
        yield start


@contextlib.contextmanager
def udp_servers(target):
    """UDP servers at the target on ports 6000 and 6001 that answer with the port in front."""
    servers, threads, stop = [], [], threading.Event()
    for port in (6000, 6001):
        server = target.open_socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.bind((TARGET, port))
        server.settimeout(0.2)
        servers.append(server)

        def serve(server=server, port=port):
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    got, sender = server.recvfrom(65536)
                    if got != b"quiet":
                        server.sendto(b"%d " % port + got, sender)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for server in servers:
            server.close()


def read_all(connection):
    parts = []
    while got := connection.recv(1 << 16):
        parts.append(got)
    return b"".join(parts)


def was_reset(connection):
    try:
        return connection.recv(1) == b"never"
    except ConnectionResetError:
        return True


def is_turned_away(machine, port, source=None):
    """A call that is answered with a reset, which may come so soon that the call itself fails of it."""
    try:
        with machine.connect(PUBLIC, port, source=source) as connection:
            return was_reset(connection)
    except ConnectionResetError:
        return True


def ask(caller, text, port=600):
    caller.sendto(text, (PUBLIC, port))
    return caller.recv(65536)
