# SPDX-License-Identifier: ISC
"""One path for one translation and for two, with all translators: four network namespaces, joined by veth.

    client --IPv4+6-- clat --IPv6-- plat --IPv4+6-- server

The addresses alone decide which variant translates, and where: at clat and plat, or at plat alone, if the client speaks
IPv6 to an address of the PLAT's prefix. So all share every link. There are no firewall rules.
"""

import contextlib
import ipaddress
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.namespaces import MTU_BYTES, BenchError, Node, address, join
from bench.speed.ends import Ends, set_links
from sdk.netns import NetworkNamespace

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("client", "clat", "plat", "server")
START_S = 10


@dataclass(frozen=True)
class Variant:
    """A pair of translators; number makes its addresses. command: what runs, if it is no siit."""

    name: str
    number: int
    fast: str = "off"
    command: str = ""

    @property
    def clat(self) -> str:
        return f"fd00:{64 + self.number}:1::/96"

    @property
    def plat(self) -> str:
        return f"fd00:{64 + self.number}:2::/96"

    @property
    def client(self) -> str:
        """That the CLAT translates."""
        return f"10.1.{self.number}.2"

    @property
    def second(self) -> str:
        """That stands for a client which speaks IPv6 itself."""
        return f"10.1.{self.number}.3"

    @property
    def server(self) -> str:
        return f"10.9.0.{self.number + 2}"

    @property
    def device(self) -> str:
        return f"{self.name}0"

    def rules(self) -> dict[str, str]:
        """siit's, by node."""
        mine = f"10.1.{self.number}.2/31"
        return {
            "clat": f"local.v4 {mine} local.v6 {self.clat} local.style RFC6052 "
            f"remote.v4 0.0.0.0/0 remote.v6 {self.plat} remote.style RFC6052",
            "plat": f"local.v4 0.0.0.0/0 local.v6 {self.plat} local.style RFC6052 "
            f"remote.v4 {mine} remote.v6 {self.clat} remote.style RFC6052",
        }


def variants() -> list[Variant]:
    """All that this machine has; $TAYGA names another tayga."""
    found = [Variant("siit", 0), Variant("fast", 1, "on"), Variant("tayga", 2, command="tayga")]
    other = os.environ.get("TAYGA")
    if other:
        if not os.access(other, os.X_OK):
            raise BenchError(f"TAYGA={other} is no program")
        found.append(Variant("tayga_new", 3, command=other))
    return found


def embed(prefix: str, address: str) -> str:
    """The IPv6 address of an IPv4 address in a /96."""
    return str(ipaddress.IPv6Network(prefix)[int(ipaddress.IPv4Address(address))])


def lay(nodes: dict[str, Node], every: list[Variant]) -> None:
    """Links, addresses and all routes but those into the translators' devices."""
    client, clat, plat, server = (nodes[name] for name in NAMES)
    for a, b in ((client, clat), (clat, plat), (plat, server)):
        join(a, "up0", b, "down0")

    address(client, "up0", "fd00:c::2/64", *(f"{each.client}/24" for each in every))
    address(client, "up0", *(f"{embed(each.clat, each.second)}/128" for each in every))
    address(clat, "down0", "fd00:c::1/64", *(f"10.1.{each.number}.1/24" for each in every))
    address(clat, "up0", "fd00:1::1/64")
    address(plat, "down0", "fd00:1::2/64")
    address(plat, "up0", "10.9.0.1/24", "fd00:9::1/64")
    address(server, "down0", "fd00:9::2/64", *(f"{each.server}/24" for each in every))
    for node in (clat, plat):
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    client.run("ip", "route", "add", "default", "via", "fd00:c::1")
    server.run("ip", "route", "add", "default", "via", "fd00:9::1")
    clat.run("ip", "route", "add", "fd00:9::/64", "via", "fd00:1::2")
    plat.run("ip", "route", "add", "fd00:c::/64", "via", "fd00:1::1")
    for each in every:
        lead(nodes, each)


def lead(nodes: dict[str, Node], variant: Variant) -> None:
    """The routes of a variant outside its devices."""
    mtu = ("mtu", "lock", str(MTU_BYTES - 20))
    one = embed(variant.clat, variant.second)
    via = ("ip", "route", "add", variant.server, "via", f"10.1.{variant.number}.1")
    nodes["client"].run(*via, "src", variant.client, *mtu)
    for mine in (variant.client, variant.second):
        nodes["server"].run("ip", "route", "add", mine, "via", "10.9.0.1", "src", variant.server, *mtu)
    nodes["clat"].run("ip", "route", "add", variant.plat, "via", "fd00:1::2")
    nodes["clat"].run("ip", "route", "add", f"{one}/128", "via", "fd00:c::2")
    nodes["plat"].run("ip", "route", "add", variant.clat, "via", "fd00:1::1")


def lead_into(nodes: dict[str, Node], variant: Variant) -> None:
    """The routes into a variant's device, which exists on clat and plat."""
    for name, into in {
        "clat": (variant.server, variant.clat),
        "plat": (variant.client, variant.second, variant.plat),
    }.items():
        nodes[name].run("ip", "link", "set", variant.device, "up", "mtu", str(MTU_BYTES))
        for each in into:
            nodes[name].run("ip", "route", "add", each, "dev", variant.device)


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + START_S
    while not is_so():
        if time.monotonic() > end_s:
            raise BenchError(f"{what} did not come about within {START_S} s")
        time.sleep(0.02)


def start_siit(variant: Variant, name: str, node: Node, folder: Path) -> subprocess.Popen:
    siit, socket = (sys.executable, "-m", "siit"), folder / f"{variant.name}-{name}.sock"
    at, state = ("--socket", str(socket)), str(folder / f"{variant.name}-{name}.rules")
    log = (folder / f"{variant.name}-{name}.log").open("w")
    words = (*siit, "daemon", *at, "--state", state, "--fast", variant.fast)
    daemon = node.start(*words, cwd=ROOT, stdout=log, stderr=log)
    log.close()
    wait_for("siit's socket", socket.exists)
    node.run(
        *("env", f"PYTHONPATH={ROOT}", *siit, "ctl", *at),
        f"add {variant.device}",
        f"config {variant.device} {variant.rules()[name]}",
    )
    return daemon


def start_tayga(variant: Variant, name: str, node: Node, folder: Path) -> subprocess.Popen:
    number, spool = ("clat", "plat").index(name) + 1, folder / f"{variant.name}-{name}"
    spool.mkdir()
    config = folder / f"{variant.name}-{name}.conf"
    maps = [f"map {each} {embed(variant.clat, each)}" for each in (variant.client, variant.second)]
    lines = [
        f"tun-device {variant.device}",
        f"ipv4-addr 192.0.{variant.number}.{number}",
        f"ipv6-addr fd00:{64 + variant.number}:{number + 2}::1",
        f"prefix {variant.plat}",
        *maps,
        f"data-dir {spool}",
    ]
    config.write_text("\n".join(lines) + "\n")
    node.run(variant.command, "--mktun", "--config", str(config))
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return node.start(variant.command, "--nodetach", "--config", str(config), **silent)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Translations:
    """The path as a topology: of one translation ("one") or of two ("two")."""

    def __init__(self, name: str, laid: "Laid") -> None:
        self.name, self._laid, self.program = name, laid, laid.program
        self.variants = ("plain", *laid.variants)

    def use(self, variant: str, links: str) -> Ends:
        self._laid.use(links)
        return self._laid.ends(self.name, variant)

    def daemons(self, variant: str) -> list[int]:
        return [daemon.pid for daemon in self._laid.running.get(variant, ())]


class Laid:
    """The nodes, the translators that run, and what net_load is called."""

    def __init__(self, nodes: dict[str, Node], program: str, every: list[Variant]) -> None:
        self.nodes, self.program = nodes, program
        self.variants = {each.name: each for each in every}
        self.running: dict[str, list[subprocess.Popen]] = {}
        self._links = "whole"

    def use(self, links: str) -> None:
        if links != self._links:
            for node in self.nodes.values():
                set_links(node, links)
            self._links = links

    def ends(self, name: str, variant: str) -> Ends:
        client, server = self.nodes["client"], self.nodes["server"]
        if variant == "plain":
            return Ends(client, server, "fd00:c::2", "fd00:9::2", "fd00:9::2")
        v = self.variants[variant]
        if name == "two":
            return Ends(client, server, v.client, v.server, v.server)
        return Ends(client, server, embed(v.clat, v.second), embed(v.plat, v.server), v.server)


@contextlib.contextmanager
def path(program: str, folder: Path) -> Iterator[list[Translations]]:
    """The path with all translators running, as its topologies; takes everything away again."""
    if os.geteuid() != 0:
        raise BenchError("network namespaces need root: run it with sudo")
    with contextlib.ExitStack() as stack:
        nodes = {name: Node(f"bench{os.getpid()}-{name}") for name in NAMES}
        for node in nodes.values():
            stack.enter_context(NetworkNamespace(node.netns))
        laid = Laid(nodes, program, variants())
        every = list(laid.variants.values())
        lay(nodes, every)
        for variant in every:
            start = start_tayga if variant.command else start_siit
            for name in ("clat", "plat"):
                daemon = start(variant, name, nodes[name], folder)
                stack.callback(end, daemon)
                laid.running.setdefault(variant.name, []).append(daemon)
            lead_into(nodes, variant)
        yield [Translations(name, laid) for name in ("one", "two")]
