# SPDX-License-Identifier: ISC
"""The device to the internet becomes a port of the bridge, and one again that stands for itself.

router .1 -- eth0 server .7
"""

import contextlib
import os
import re
import socket

import pytest
from reach_day import NOTHING, await_addresses, changes, says_on
from reach_lab import LIBC, Machine, Server, address, cable, echo, needs
from reach_site import snapshot

from reach.kernel import Kernel, KernelError
from reach.plan import Br
from reach.steps import device_steps

pytestmark = needs()
STEPS = device_steps(None, Br("taps", is_ours=True, uplink="eth0"), None, "")
OUTSIDE = ("192.0.2.1", "2001:db8:ffff::1")


@pytest.fixture
def machines():
    with contextlib.ExitStack() as stack:
        router, server = Machine(), Machine()
        for machine in (router, server):
            stack.callback(machine.end)
            machine.run("sysctl", "-q", "net.ipv6.conf.default.dad_transmits=0")  # no test has to wait for it
        cable(router, "eth0", server, "eth0")
        address(router, "eth0", "203.0.113.1/24", "fe80::1/64")
        address(router, "lo", *OUTSIDE)
        router.run("ip", "-6", "route", "add", "2001:db8:0:7::/64", "dev", "eth0")
        address(server, "eth0", "203.0.113.7/24", "2001:db8:0:7::7/64")
        server.run(
            "ip", "addr", "add", "203.0.113.8/32", "dev", "eth0", "valid_lft", "9999", "preferred_lft", "0"
        )
        server.run("ip", "route", "add", "default", "via", "203.0.113.1", "src", "203.0.113.8")
        server.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0", "expires", "9999")
        await_addresses(server, "eth0")
        yield router, server


@contextlib.contextmanager
def kernel_of(machine, folder):
    """What reach does, on a machine of the test."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with open(f"/proc/{machine.pid}/ns/net") as other:
        assert LIBC.setns(other.fileno(), 0) == 0
    try:
        with Kernel(folder) as kernel:
            yield kernel
    finally:
        assert LIBC.setns(own, 0) == 0
        os.close(own)


def own_mac(machine, device):
    return re.search(r"link.ether (\S+)", machine.run("ip", "link", "show", "dev", device).stdout)[1]


@pytest.fixture
def open_connections(machines):
    """From outside to each address of the server, in both families."""
    router, server = machines
    with contextlib.ExitStack() as stack:
        for family, own in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            stack.callback(Server(server, own, 80 + (family == socket.AF_INET6), echo, family).close)
        yield [
            stack.enter_context(router.connect(target, port, family, source))
            for target, port, family, source in (
                ("203.0.113.7", 80, socket.AF_INET, OUTSIDE[0]),
                ("203.0.113.8", 80, socket.AF_INET, OUTSIDE[0]),
                ("2001:db8:0:7::7", 81, socket.AF_INET6, OUTSIDE[1]),
            )
        ]


def test_the_device_becomes_a_port_and_comes_back_under_open_connections(
    machines, open_connections, tmp_path
):
    _, server = machines
    before = snapshot(server)
    with kernel_of(server, tmp_path) as kernel:
        notes = []
        for step in STEPS:
            notes.append(kernel.read(step))
            kernel.do(step, notes[-1])
        assert not server.run("ip", "addr", "show", "dev", "eth0", "scope", "global").stdout
        assert "dev taps" in server.run("ip", "route", "get", OUTSIDE[0]).stdout
        assert own_mac(server, "taps") == own_mac(server, "eth0")
        kernel.do(STEPS[1], notes[1])  # once more changes nothing
        assert all(map(kernel.has, STEPS))
        for connection in open_connections:
            says_on(connection)
        for step, note in reversed(list(zip(STEPS, notes, strict=True))):
            kernel.undo(step, note)
    for connection in open_connections:
        says_on(connection)
    assert changes(before, snapshot(server)) == NOTHING


@contextlib.contextmanager
def carried_out(kernel):
    """STEPS are done, and undone at the end in the opposite order, as `up` and `down` do."""
    notes = [(step, kernel.read(step)) for step in STEPS]
    for step, note in notes:
        kernel.do(step, note)
    yield
    for step, note in reversed(notes):
        kernel.undo(step, note)


def test_a_device_whose_bridge_somebody_deleted_has_its_addresses_again(machines, tmp_path):
    router, server = machines
    before = snapshot(server)
    with kernel_of(server, tmp_path) as kernel, carried_out(kernel):
        server.run("ip", "link", "del", "taps")
        assert not kernel.has(STEPS[1])
    assert changes(before, snapshot(server)) == NOTHING
    assert router.run("ping", "-c1", "-W5", "-I", OUTSIDE[0], "203.0.113.7").returncode == 0


def test_a_port_of_another_bridge_is_left_alone(machines, tmp_path):
    _, server = machines
    server.run("ip", "link", "add", "other", "type", "bridge")
    server.run("ip", "link", "set", "eth0", "master", "other")
    with (
        kernel_of(server, tmp_path) as kernel,
        pytest.raises(KernelError, match="a port of another bridge already"),
    ):
        kernel.read(STEPS[1])


def test_a_device_that_is_gone_is_lost_and_not_waited_for(machines, tmp_path):
    _, server = machines
    with kernel_of(server, tmp_path) as kernel, carried_out(kernel):
        server.run("ip", "link", "del", "eth0")
        assert not kernel.has(STEPS[1])
    assert "taps" not in server.run("ip", "link").stdout
