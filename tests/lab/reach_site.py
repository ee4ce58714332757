# SPDX-License-Identifier: ISC
"""Both ends of reach, who calls and who is called, on machines in namespaces; for tests of `up` and `down`.

One wire, 203.0.113.0/24 and 2001:db8:0:1::/64. The home has IPv6 only, the caller IPv4 only; WireGuard is wireguard-go.

caller .99      server .7 ::7      site .80 ::80      home ::20 -- 192.168.1.0/24 -- host .210
"""

import contextlib
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from reach_lab import DEADLINE_S, ROOT, Machine, Server, address, cable, program, wait_until

from reach import keys

REACH = ROOT / "bin" / "reach"
HOST = "192.168.1.210"
ENDS = """
[server]
device = "eth0"
ipv4 = "203.0.113.7"
ipv6 = "2001:db8:0:1::7/64"
[home.attic]
device = "eth0"
ipv6 = "2001:db8:0:1::20/64"
lan = "192.168.1.0/24"
lan_device = "eth1"
"""
WG = """
[link.wg0]
kind = "wireguard"
peers = { attic = 2 }
masqueraded = "198.18.0.0/24"
userspace = true
keepalive_s = 1
endpoint = "[2001:db8:0:1::7]"
"""
PORTS = f"""
[[publish]]
tcp = 443
udp = 5060
to = "{HOST}"
"""
WHOLE = f"""
[[publish]]
whole_address = true
except = ["tcp/22"]
to = "{HOST}"
"""
RELAY = '\n[[publish]]\ntcp = 8080\nto = "2001:db8:0:1::80"\nproxy = "v1"\n'
HUB_AT_HOME = """
[link.wg0]
kind = "wireguard"
hub = "attic"
peers = { laptop = 2 }
routed = "198.18.0.0/24"
masqueraded = "198.18.1.0/24"
mtu = 1280
userspace = true
pin = true
[[publish]]
udp = 51820
to = "2001:db8:0:1::20"
"""
servers = []


class Site:
    """All machines, and `reach` on them with one description. ends: machine -> the end that it is."""

    ends = {"server": "server", "home": "attic", "caller": "laptop"}  # noqa: RUF012

    def __init__(self, stack, folder):
        self.folder = folder
        self.wire, self.caller, self.server, self.home, self.host, self.site = machines = [
            Machine() for _ in range(6)
        ]
        for machine in machines:
            stack.callback(machine.end)
        self.wire.run("ip", "link", "add", "br0", "type", "bridge")
        self.wire.run("ip", "link", "set", "br0", "up")
        for i, machine in enumerate((self.caller, self.server, self.home, self.site)):
            cable(self.wire, f"port{i}", machine, "eth0")
            self.wire.run("ip", "link", "set", f"port{i}", "master", "br0")
        cable(self.home, "eth1", self.host, "eth0")
        address(self.caller, "eth0", "203.0.113.99/24")
        address(self.server, "eth0", "203.0.113.7/24", "2001:db8:0:1::7/64")
        address(self.home, "eth0", "2001:db8:0:1::20/64")
        address(self.site, "eth0", "203.0.113.80/24", "2001:db8:0:1::80/64")
        address(self.home, "eth1", "192.168.1.1/24")
        address(self.host, "eth0", f"{HOST}/24")
        self.host.run("ip", "route", "add", "default", "via", "192.168.1.1")
        for machine in machines:
            # the kernel adds addresses by itself: a snapshot would see half of them
            wait_until(lambda m=machine: "tentative" not in m.run("ip", "addr").stdout, "addresses are ready")
        self.describe(ENDS + WG + PORTS)

    def describe(self, text):
        (self.folder / "reach.toml").write_text(text)

    def state(self, machine):
        return self.folder / f"state{machine.pid}"

    def reach(self, machine, *words, check=True, env=()):
        command = [
            "env",
            "--unset",
            "SSH_CONNECTION",
            *env,
            f"PATH={program().parent}:{os.environ['PATH']}",
            REACH,
            "--file",
        ]
        return machine.run(
            *command, self.folder / "reach.toml", "--state", self.state(machine), *words, check=check
        )

    def down(self):
        """All ends, and what the test serves."""
        ends = [(getattr(self, machine), end) for machine, end in self.ends.items()]
        self.at_once("down", *(each for each in ends if (self.state(each[0]) / f"{each[1]}.json").exists()))
        while servers:
            servers.pop().close()

    def at_once(self, command, *ends):
        """One command at several machines; each waits more for its Python than for the others."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda each: self.reach(each[0], command, each[1]), ends))

    def both_up(self):
        self.at_once("up", (self.server, "server"), (self.home, "attic"))
        wait_until(
            lambda: self.host.run("ping", "-c1", "-W1", "198.18.0.1", check=False).returncode == 0,
            "the link works",
        )


@contextlib.contextmanager
def machines(folder, kind=Site):
    """A site, with the keys of its ends in a folder."""
    with contextlib.ExitStack() as stack:
        for end in kind.ends.values():
            keys.write(folder / "keys", end)
        yield kind(stack, folder)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with machines(tmp_path_factory.mktemp("reach")) as made:
        yield made


@pytest.fixture
def site(net):
    """Machines on which nothing of ours is up, before and after."""
    net.describe(ENDS + WG + PORTS)
    yield net
    net.down()


def kill(process):
    """Kill what runs in the machine, and collect the process that waits for it here."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    process.wait()


def snapshot(machine):
    """What `down` has to restore."""
    commands = (
        ("ip", "-j", "link"), ("ip", "-j", "addr"), ("ip", "-j", "route", "show", "table", "all"),
        ("ip", "-6", "-j", "route", "show", "table", "all"), ("ip", "-j", "rule"), ("ip", "-6", "-j", "rule"),
        ("nft", "list", "ruleset"), ("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
        ("sysctl", "net.ipv4.conf.all.src_valid_mark", "net.ipv6.conf.eth0.accept_ra"),
    )  # fmt: skip
    return [machine.run(*words).stdout for words in commands]


def whoami(connection):
    connection.sendall(connection.getpeername()[0].encode())


def tell(machine, port):
    """A TCP server that says who calls; it ends with the test."""
    return serve_tcp(machine, "0.0.0.0", port, whoami, socket.AF_INET)


def serve_tcp(*arguments):
    servers.append(Server(*arguments))
    return servers[-1]


def call(machine, target, port, family=socket.AF_INET, timeout_s=DEADLINE_S):
    with machine.connect(target, port, family, timeout_s=timeout_s) as connection:
        return connection.recv(99).decode()
