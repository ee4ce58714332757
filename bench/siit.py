# SPDX-License-Identifier: ISC
"""How fast packets cross CLAT and PLAT: siit without and with its BPF fast path, and tayga, against plain IPv6.

The path is four network namespaces, joined by veth. The addresses alone decide which variant translates. So all
variants share every link, and run in turn in each round:

    client --IPv4+6-- clat --IPv6-- plat --IPv4+6-- server

Medians of the rounds' ratios are reported, since a machine's speed changes from one minute to the next, but
less within a round.
"""

import contextlib
import ipaddress
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.netns import NetworkNamespace

ROOT = Path(__file__).resolve().parent.parent
MTU_BYTES = 1500  # of every link; an IPv4 packet may have 20 less
PAYLOAD_BYTES = 22  # a UDP packet that fills the smallest Ethernet frame (64 bytes) exactly
PORT = 5201

PLAT_PREFIX = {"siit": "fd00:64:2::/96", "tayga": "fd00:65:2::/96", "fast": "fd00:66:2::/96"}
CLAT_PREFIX = {"siit": "fd00:64:1::/96", "tayga": "fd00:65:1::/96", "fast": "fd00:66:1::/96"}
CLIENT = {"siit": "10.1.0.2", "tayga": "10.1.1.2", "fast": "10.1.2.2", "plain": "fd00:c::2"}
SERVER = {"siit": "10.9.0.2", "tayga": "10.9.0.3", "fast": "10.9.0.4", "plain": "fd00:9::2"}
VARIANTS = ("plain", "siit", "fast", "tayga")
NODES = ("client", "clat", "plat", "server")


class BenchError(RuntimeError):
    """The bench cannot run here; one sentence says why."""


@dataclass(frozen=True)
class Node:
    """A network namespace of the path."""

    netns: str

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.netns, *words]

    def run(self, *words: str, timeout_s: float = 60) -> str:
        """Run a command here and return its output. Raises BenchError when it fails."""
        try:
            done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout_s)
        except FileNotFoundError as error:
            raise BenchError(f"{error.filename} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{' '.join(words)}: no end after {timeout_s} s") from error
        if done.returncode:
            raise BenchError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, *words: str, **options) -> subprocess.Popen:
        return subprocess.Popen(self.command(*words), text=True, **options)


def embed(prefix: str, address: str) -> str:
    """The IPv6 address of an IPv4 address in a /96."""
    network = ipaddress.IPv6Network(prefix)
    return str(network[int(ipaddress.IPv4Address(address))])


def join(a: Node, name_a: str, b: Node, name_b: str) -> None:
    subprocess.run(
        [
            "ip",
            "link",
            "add",
            name_a,
            "netns",
            a.netns,
            "type",
            "veth",
            "peer",
            "name",
            name_b,
            "netns",
            b.netns,
        ],
        check=True,
    )
    for node, name in ((a, name_a), (b, name_b)):
        node.run("ip", "link", "set", name, "up", "mtu", str(MTU_BYTES))


def address(node: Node, device: str, *addresses: str) -> None:
    for each in addresses:
        node.run("ip", "address", "add", each, "dev", device, *(["nodad"] if ":" in each else []))


def make_path(nodes: dict[str, Node]) -> None:
    """Links, addresses and all routes but those into the translators' devices."""
    client, clat, plat, server = (nodes[name] for name in NODES)
    join(client, "up0", clat, "down0")
    join(clat, "up0", plat, "down0")
    join(plat, "up0", server, "down0")
    address(client, "up0", "10.1.0.2/24", "10.1.1.2/24", "10.1.2.2/24", "fd00:c::2/64")
    address(clat, "down0", "10.1.0.1/24", "10.1.1.1/24", "10.1.2.1/24", "fd00:c::1/64")
    address(clat, "up0", "fd00:1::1/64")
    address(plat, "down0", "fd00:1::2/64")
    address(plat, "up0", "10.9.0.1/24", "fd00:9::1/64")
    address(server, "down0", "10.9.0.2/24", "10.9.0.3/24", "10.9.0.4/24", "fd00:9::2/64")
    for node in (clat, plat):
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    mtu = str(MTU_BYTES - 20)
    for variant in PLAT_PREFIX:
        client.run(
            *("ip", "route", "add", SERVER[variant], "via", "10.1.0.1"),
            "src",
            CLIENT[variant],
            "mtu",
            "lock",
            mtu,
        )
        server.run(
            *("ip", "route", "add", CLIENT[variant], "via", "10.9.0.1"),
            "src",
            SERVER[variant],
            "mtu",
            "lock",
            mtu,
        )
        clat.run("ip", "route", "add", PLAT_PREFIX[variant], "via", "fd00:1::2")
        plat.run("ip", "route", "add", CLAT_PREFIX[variant], "via", "fd00:1::1")
    client.run("ip", "route", "add", "default", "via", "fd00:c::1")
    server.run("ip", "route", "add", "default", "via", "fd00:9::1")
    clat.run("ip", "route", "add", "fd00:9::/64", "via", "fd00:1::2")
    plat.run("ip", "route", "add", "fd00:c::/64", "via", "fd00:1::1")


def route_into(nodes: dict[str, Node], variant: str, device: str) -> None:
    """Lead a variant's packets into its device, which exists on clat and plat."""
    clat, plat = nodes["clat"], nodes["plat"]
    for node in (clat, plat):
        node.run("ip", "link", "set", device, "up", "mtu", str(MTU_BYTES))
    clat.run("ip", "route", "add", SERVER[variant], "dev", device)
    clat.run("ip", "route", "add", CLAT_PREFIX[variant], "dev", device)
    plat.run("ip", "route", "add", CLIENT[variant], "dev", device)
    plat.run("ip", "route", "add", PLAT_PREFIX[variant], "dev", device)


def wait_for(what: str, is_so: Callable[[], bool], deadline_s: float = 10) -> None:
    end = time.monotonic() + deadline_s
    while not is_so():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not come about within {deadline_s} s")
        time.sleep(0.02)


def start_siit(
    nodes: dict[str, Node], folder: Path, stack: contextlib.ExitStack, variant: str, fast: str
) -> None:
    sides = {
        "clat": ("local.v4 {client}/32 local.v6 {clat} local.style RFC6052 "
                 "remote.v4 0.0.0.0/0 remote.v6 {plat} remote.style RFC6052"),
        "plat": ("local.v4 0.0.0.0/0 local.v6 {plat} local.style RFC6052 "
                 "remote.v4 {client}/32 remote.v6 {clat} remote.style RFC6052"),
    }  # fmt: skip
    values = {"clat": CLAT_PREFIX[variant], "plat": PLAT_PREFIX[variant], "client": CLIENT[variant]}
    siit, device = (sys.executable, "-m", "siit"), f"{variant}0"
    for name, rules in sides.items():
        socket = folder / f"{variant}-{name}.sock"
        at = ("--socket", str(socket))
        log = stack.enter_context((folder / f"{variant}-{name}.log").open("w"))
        state = str(folder / f"{variant}-{name}.rules")
        daemon = nodes[name].start(
            *siit, "daemon", *at, "--state", state, "--fast", fast, cwd=ROOT, stdout=log, stderr=log
        )
        stack.callback(end, daemon)
        wait_for("siit's socket", socket.exists)
        nodes[name].run(
            "env",
            f"PYTHONPATH={ROOT}",
            *siit,
            "ctl",
            *at,
            f"add {device}",
            f"config {device} {rules.format(**values)}",
        )
    route_into(nodes, variant, device)


def start_tayga(nodes: dict[str, Node], folder: Path, stack: contextlib.ExitStack) -> None:
    for number, name in enumerate(("clat", "plat"), 1):
        spool = folder / f"tayga-{name}"
        spool.mkdir()
        config = folder / f"tayga-{name}.conf"
        config.write_text(
            f"tun-device tayga0\nipv4-addr 192.0.2.{number}\nipv6-addr fd00:65:{number + 2}::1\n"
            f"prefix {PLAT_PREFIX['tayga']}\n"
            f"map {CLIENT['tayga']} {embed(CLAT_PREFIX['tayga'], CLIENT['tayga'])}\ndata-dir {spool}\n"
        )
        nodes[name].run("tayga", "--mktun", "--config", str(config))
        daemon = nodes[name].start(
            *("tayga", "--nodetach", "--config", str(config)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(end, daemon)
    route_into(nodes, "tayga", "tayga0")


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tcp_bits_per_s(nodes: dict[str, Node], variant: str, seconds: float) -> float:
    """One TCP stream from client to server."""
    server = nodes["server"].start(
        *("iperf3", "--server", "--one-off", "--port", str(PORT), "--bind", SERVER[variant]),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for("iperf3's server", lambda: f":{PORT} " in nodes["server"].run("ss", "-Hltn"))
        report = nodes["client"].run(
            *("iperf3", "--client", SERVER[variant], "--bind", CLIENT[variant], "--port", str(PORT)),
            *("--json", "--omit", "0.3", "--time", f"{seconds:.0f}"),
        )
        server.wait(10)
    finally:
        end(server)
    return float(json.loads(report)["end"]["sum_received"]["bits_per_second"])


def udp_packets_per_s(nodes: dict[str, Node], udp64: Path, variant: str, seconds: float) -> float:
    """Small UDP packets from client to server, as many as arrive of more than fit."""
    server = nodes["server"].start(
        *(str(udp64), "recv", SERVER[variant], str(PORT), str(seconds + 5)), stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()  # ready
        nodes["client"].run(str(udp64), "send", SERVER[variant], str(PORT), str(seconds), str(PAYLOAD_BYTES))
        return float(server.stdout.readline().split()[1])
    finally:
        end(server)


def round_trip_us(nodes: dict[str, Node], variant: str) -> float:
    """The median of a few hundred pings that do not wait for each other's second."""
    report = nodes["client"].run(
        *("ping", "-i", "0.002", "-c", "300", "-I", CLIENT[variant], SERVER[variant])
    )
    times = [float(line.split("time=")[1].split()[0]) for line in report.splitlines() if "time=" in line]
    return statistics.median(times) * 1000


@contextlib.contextmanager
def path() -> Iterator[tuple[dict[str, Node], Path]]:
    """The path with all translators running; takes everything away again."""
    if os.geteuid() != 0:
        raise BenchError("network namespaces need root: run it with sudo")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siit-bench-")))
        udp64 = folder / "udp64"
        subprocess.run(["cc", "-O2", "-o", str(udp64), str(ROOT / "bench" / "udp64.c")], check=True)
        nodes = {name: Node(f"siitbench{os.getpid()}-{name}") for name in NODES}
        for node in nodes.values():
            stack.enter_context(NetworkNamespace(node.netns))
        make_path(nodes)
        start_siit(nodes, folder, stack, "siit", "off")
        start_siit(nodes, folder, stack, "fast", "on")
        start_tayga(nodes, folder, stack)
        for variant in VARIANTS:
            nodes["client"].run("ping", "-c", "1", "-W", "5", "-I", CLIENT[variant], SERVER[variant])
        yield nodes, udp64


def measure(rounds: int = 5, seconds: float = 2, say: Callable[[str], None] = lambda line: None) -> dict:
    """What run() returns, and under "raw" what each variant did in each round."""
    raw: dict[str, dict[str, list[float]]] = {
        what: {variant: [] for variant in VARIANTS} for what in ("tcp", "udp64", "rtt")
    }
    with path() as (nodes, udp64):
        for number in range(rounds):
            for variant in VARIANTS:
                raw["tcp"][variant].append(tcp_bits_per_s(nodes, variant, seconds))
                raw["udp64"][variant].append(udp_packets_per_s(nodes, udp64, variant, seconds))
                raw["rtt"][variant].append(round_trip_us(nodes, variant))
                say(
                    f"round {number + 1} of {rounds}, {variant}: "
                    f"TCP {raw['tcp'][variant][-1] / 1e9:.2f} Gbit/s, "
                    f"64-byte UDP {raw['udp64'][variant][-1] / 1e3:.0f} kpps, "
                    f"round trip {raw['rtt'][variant][-1]:.0f} us"
                )

    def ratio(what: str, other: str, ours: str = "siit") -> float:
        pairs = zip(raw[what][ours], raw[what][other], strict=True)
        return round(statistics.median(each / theirs for each, theirs in pairs if theirs), 3)

    def added_us(ours: str) -> float:
        return round(
            statistics.median(a - b for a, b in zip(raw["rtt"][ours], raw["rtt"]["plain"], strict=True)), 1
        )

    return {
        "siit.tcp_vs_plain": ratio("tcp", "plain"),
        "siit.tcp_vs_tayga": ratio("tcp", "tayga"),
        "siit.udp64_vs_plain": ratio("udp64", "plain"),
        "siit.udp64_vs_tayga": ratio("udp64", "tayga"),
        "siit.rtt_added_us": added_us("siit"),
        "siit.fast_tcp_vs_plain": ratio("tcp", "plain", "fast"),
        "siit.fast_tcp_vs_siit": ratio("tcp", "siit", "fast"),
        "siit.fast_udp64_vs_plain": ratio("udp64", "plain", "fast"),
        "siit.fast_rtt_added_us": added_us("fast"),
        "raw": raw,
    }


def run(
    rounds: int = 5, seconds: float = 2, say: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
    """The ratios that `make bench` reports. Raises BenchError when the machine lacks something."""
    result = measure(rounds, seconds, say)
    result.pop("raw")
    return result


if __name__ == "__main__":
    try:
        print(json.dumps(run(say=lambda line: print(line, file=sys.stderr, flush=True)), indent=2))
    except BenchError as error:
        sys.exit(f"bench: {error}")
