# SPDX-License-Identifier: ISC
"""The relay and socat side by side, in turns, on one path of three network namespaces:

    caller --IPv4-- relay --IPv6-- target

Both lead to the same target; which one is used depends on the port alone. Medians of the rounds' ratios. Caller and
target share the machine, and a connection costs them as much as the relay: connections for each second of its own CPU
say what a machine of its own would do.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.namespaces import BenchError, Node, address, join
from reach.relay import build
from sdk.children import running
from sdk.netns import NetworkNamespace

SOURCE = Path(__file__).with_name("reach_load.c")
LOAD = build.PROGRAM.with_name("reach-load")
ROUNDS = 3
SECONDS = 3
CALLERS = 64
TRIPS = 3000
HELD = 5000
HELD_BY_SOCAT = 200  # each is a process of its own
UDP_BYTES = 1400
PUBLIC, TARGET, INSIDE = "203.0.113.7", "2001:db8:1::10", "2001:db8:1::1"
ECHO, IPERF, COUNT = 8080, 5201, 6000  # ports at the target
PORTS = {"relay": (80, 81, 82), "socat": (90, 91, 92)}  # those that lead there
CONFIG = "".join(
    f"{protocol} {PUBLIC} {port} {TARGET} {inner} limit=100000\n"
    for protocol, port, inner in zip(("tcp", "tcp", "udp"), PORTS["relay"], (ECHO, IPERF, COUNT), strict=True)
)


@contextlib.contextmanager
def path() -> Iterator[dict[str, Node]]:
    """The namespaces; they go with the context."""
    nodes = {name: Node(f"rb{os.getpid()}-{name}") for name in ("caller", "relay", "target")}
    with contextlib.ExitStack() as stack:
        for node in nodes.values():
            stack.enter_context(NetworkNamespace(node.netns))
            # a caller's port is free again after a second
            node.run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
        join(nodes["caller"], "eth0", nodes["relay"], "eth0")
        join(nodes["relay"], "eth1", nodes["target"], "eth0")
        address(nodes["caller"], "eth0", "203.0.113.2/24", "2001:db8:2::2/64")
        address(nodes["relay"], "eth0", f"{PUBLIC}/24", "2001:db8:2::1/64")
        address(nodes["relay"], "eth1", f"{INSIDE}/64")
        address(nodes["target"], "eth0", f"{TARGET}/64")
        nodes["relay"].run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        nodes["caller"].run("ip", "route", "add", "default", "via", "2001:db8:2::1")
        nodes["target"].run("ip", "route", "add", "default", "via", INSIDE)
        yield nodes


def start_relay(node: Node, folder: Path) -> subprocess.Popen:
    config = folder / "relay.conf"
    config.write_text(CONFIG)
    process = node.start(str(build.PROGRAM), str(config), stderr=subprocess.PIPE)
    assert process.stderr
    if "relay: ready" not in process.stderr.readline() + process.stderr.readline():
        raise BenchError("the relay does not start")
    return process


def start_socat(node: Node) -> list[subprocess.Popen]:
    """One for each port, as people do it."""
    echo, iperf, count = PORTS["socat"]
    pairs = [
        (f"TCP4-LISTEN:{echo},fork,reuseaddr,backlog=4096", f"TCP6:[{TARGET}]:{ECHO}"),
        (f"TCP4-LISTEN:{iperf},fork,reuseaddr", f"TCP6:[{TARGET}]:{IPERF}"),
        (f"UDP4-LISTEN:{count},fork,reuseaddr", f"UDP6:[{TARGET}]:{COUNT}"),
    ]
    return [node.start("socat", "-T", "30", *pair, stderr=subprocess.DEVNULL) for pair in pairs]


def load(node: Node, *words: object) -> str:
    return node.run(str(LOAD), *map(str, words), timeout_s=120)


def connections(nodes: dict[str, Node], variant: str) -> float:
    return float(load(nodes["caller"], "calls", PUBLIC, PORTS[variant][0], SECONDS, CALLERS).split()[0])


def throughput(nodes: dict[str, Node], variant: str, streams: int) -> float:
    """Bits a second that arrive."""
    words = (
        "iperf3",
        "-c",
        PUBLIC,
        "-p",
        str(PORTS[variant][1]),
        "-t",
        str(SECONDS),
        "-P",
        str(streams),
        "-J",
    )
    found = json.loads(nodes["caller"].run(*words))
    if "error" in found:
        raise BenchError(f"iperf3: {found['error']}")
    return found["end"]["sum_received"]["bits_per_second"]


def datagrams(nodes: dict[str, Node], variant: str) -> float:
    """Datagrams a second that arrive."""
    counting = nodes["target"].start(
        str(LOAD), "count", TARGET, str(COUNT), str(SECONDS), stdout=subprocess.PIPE
    )
    assert counting.stdout
    with running(counting):
        counting.stdout.readline()
        load(nodes["caller"], "send", PUBLIC, PORTS[variant][2], SECONDS + 0.5, UDP_BYTES)
        return float(counting.stdout.readline())


def anonymous_kib(pid: int) -> int:
    with contextlib.suppress(OSError):  # it may just have ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1])
    return 0


def descendants(pid: int) -> list[int]:
    children: list[str] = []
    with contextlib.suppress(OSError):  # it may just have ended
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in descendants(int(child)))]


def cpu_s(pid: int) -> float:
    """What a process, its children and those that it has collected have used of the CPU."""
    ticks = 0
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def held(nodes: dict[str, Node], variant: str, process: subprocess.Popen, count: int) -> float:
    """KiB of anonymous memory for each open connection."""
    before = sum(map(anonymous_kib, descendants(process.pid)))
    holding = nodes["caller"].start(
        str(LOAD),
        "hold",
        PUBLIC,
        str(PORTS[variant][0]),
        str(count),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holding.stdout
    with running(holding):
        if "held" not in holding.stdout.readline():
            raise BenchError(f"{variant} does not hold {count} connections")
        return (sum(map(anonymous_kib, descendants(process.pid))) - before) / count


def run(rounds: int = ROUNDS, say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return the figures. Raises BenchError when something is missing or does not work."""
    if not shutil.which("socat"):
        say("skipped, there is no socat to compare with: apt-get install socat")
        return {}
    if not build.is_current(build.PROGRAM):
        build.build(build.PROGRAM, [])
    subprocess.run(["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", LOAD, SOURCE], check=True)
    with path() as nodes, tempfile.TemporaryDirectory() as folder:
        relay, socats = start_relay(nodes["relay"], Path(folder)), start_socat(nodes["relay"])
        serving = nodes["target"].start(str(LOAD), "serve", TARGET, str(ECHO))
        iperf = nodes["target"].start("iperf3", "-s", "-p", str(IPERF), stdout=subprocess.DEVNULL)
        with running(relay, *socats, serving, iperf):
            time.sleep(0.5)
            return measure(nodes, relay, socats[0], rounds, say)


KINDS: dict[str, Callable[[dict[str, Node], str], float]] = {
    "connections": connections,
    "tcp1": lambda nodes, variant: throughput(nodes, variant, 1),
    "tcp100": lambda nodes, variant: throughput(nodes, variant, 100),
    "udp": datagrams,
}


def measure(
    nodes: dict[str, Node],
    relay: subprocess.Popen,
    socat: subprocess.Popen,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, float]:
    # first, before other work leaves memory behind that is used again
    memory = {"reach.relay_kib_per_connection": held(nodes, "relay", relay, HELD)}
    memory["reach.socat_kib_per_connection"] = held(nodes, "socat", socat, HELD_BY_SOCAT)
    ratios: dict[str, list[float]] = {kind: [] for kind in [*KINDS, "connections_per_cpu_s"]}
    rates, added = [], []
    for i in range(rounds):
        for kind, does in KINDS.items():
            before = cpu_s(relay.pid), cpu_s(socat.pid)
            ours, theirs = does(nodes, "relay"), does(nodes, "socat")
            ratios[kind].append(ours / theirs)
            if kind == "connections":
                rates.append(ours)
                used = cpu_s(relay.pid) - before[0], cpu_s(socat.pid) - before[1]
                ratios["connections_per_cpu_s"].append(ours / used[0] / (theirs / used[1]))
            say(f"{i + 1} of {rounds}: {kind}: relay {ours:,.0f}, socat {theirs:,.0f}: {ours / theirs:.1f}")
        plain = float(load(nodes["caller"], "trips", TARGET, ECHO, TRIPS))
        added.append(float(load(nodes["caller"], "trips", PUBLIC, PORTS["relay"][0], TRIPS)) - plain)
    figures = {f"reach.relay_{kind}_vs_socat": statistics.median(values) for kind, values in ratios.items()}
    figures["reach.relay_connections_per_s"] = statistics.median(rates)
    figures["reach.relay_rtt_added_us"] = statistics.median(added)
    return {key: round(value, 2) for key, value in (figures | memory).items()}


if __name__ == "__main__":
    try:
        print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
    except BenchError as error:
        sys.exit(f"bench: {error}")
