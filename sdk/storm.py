# SPDX-License-Identifier: ISC
"""`make storm`: every client of a mesh walks while its connections are open, among what goes wrong on real routers.

    make storm ARGS='--rules xtables'                      all troubles, one after the other, in a mesh of twelve nodes
    make storm ARGS='--rules xtables --walks 300 lock'     only that somebody holds the lock of iptables

calm     nothing goes wrong: walks of all clients, interleaved
quick    each walk is followed by another within a tenth of a second
kill     roaming daemons are killed and started again. While one is dead its gate is open, so a client that comes then
         does not roam. Connections that break are reported and do not count
fw3      nodes have the chains of OpenWrt's firewall with iptables
front    somebody puts rules that accept everything before ours
lock     a program holds the lock of iptables for two seconds, again and again
flood    a node sends random bytes to the daemons of all others

The exit status is 1 if a connection broke in any other of these.
"""

import contextlib
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator

from runtime.usage import Parser
from sdk.children import running
from sdk.lab import Lab, LabError
from sdk.lab.__main__ import add_rules_option, use_rules
from sdk.lab.plan import clatnodes
from sdk.lab.topology import Node
from sdk.lab.topology_reader import load_topology
from sdk.roaming import RoamingResult, echo_traffic, evaluate
from xlat464.address import format_ipv6
from xlat464.node import management_address

CONNECTIONS, PAUSE_MS, DATAGRAM_MS = 4, 100, 20  # of each client
STAY_S, QUICK_S = (0.1, 0.4), (0.02, 0.1)  # between two walks, of any clients
REST_S = 3.0  # at the end, so that the last walks end too
KILL_EVERY_S = 1.0

FW3 = """
for program in iptables ip6tables; do
    $program -P FORWARD DROP
    for zone in client clat plat wan mesh; do $program -N zone_$zone; done
    $program -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $program -A FORWARD -i br-client -j zone_client; $program -A zone_client -o clat -j ACCEPT
    $program -A FORWARD -i clat -j zone_clat; $program -A zone_clat -j ACCEPT
    $program -A FORWARD -i plat -j zone_plat; $program -A zone_plat -j ACCEPT
    $program -A FORWARD -i wan -j zone_wan; $program -A zone_wan -j REJECT
    $program -A FORWARD -j zone_mesh; $program -A zone_mesh -j ACCEPT
    $program -t mangle -A FORWARD -o clat -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
done
"""
FRONT = """
iptables -t mangle -I FORWARD -j ACCEPT; ip6tables -t mangle -I FORWARD -j ACCEPT
ip6tables -t nat -I PREROUTING -j ACCEPT; iptables -t mangle -I PREROUTING -j ACCEPT
"""
LOCK = "for turn in $(seq 100); do flock /run/xtables.lock sleep 2; sleep 0.5; done"
FLOOD = """
import contextlib, os, random, socket, sys, time
targets, end_s = sys.argv[1:], time.monotonic() + 120
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    while time.monotonic() < end_s:
        for target in targets:
            with contextlib.suppress(OSError):
                s.sendto(os.urandom(random.choice((1, 20, 60, 200, 1200))), (target, 5523))
        time.sleep(0.001)
"""


@contextlib.contextmanager
def calm(lab: Lab) -> Iterator[None]:
    yield


@contextlib.contextmanager
def killing(lab: Lab) -> Iterator[None]:
    stopped, chance = threading.Event(), random.Random(2)

    def kill() -> None:
        while not stopped.wait(KILL_EVERY_S):
            node = chance.choice(nodes_with_daemons(lab))
            lab.running.stop(node.name, "l3roamd")
            lab.programs.start_l3roamd(node)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def scripted(text: str) -> Callable[[Lab], contextlib.AbstractContextManager[None]]:
    """A trouble that is there once a few lines of sh ran on every node."""

    @contextlib.contextmanager
    def trouble(lab: Lab) -> Iterator[None]:
        for node in nodes_with_daemons(lab):
            lab.script(node.name, text.strip().splitlines())
        yield

    return trouble


def locking(lab: Lab) -> contextlib.AbstractContextManager[None]:
    return running(*(lab.popen(node.name, ["sh", "-c", LOCK]) for node in nodes_with_daemons(lab)))


def flooding(lab: Lab) -> contextlib.AbstractContextManager[None]:
    nodes = nodes_with_daemons(lab)
    prefixes = [lab.plan.clat_prefix(node) for node in nodes if node.role.is_clat]
    prefixes += [lab.plan.plat_prefix(node) for node in nodes if node.role.is_plat]
    targets = [format_ipv6(management_address(prefix)) for prefix in prefixes]
    return running(lab.popen(nodes[0].name, ["python", "-c", FLOOD, *targets]))


TROUBLES: dict[str, Callable[[Lab], contextlib.AbstractContextManager[None]]] = {
    "calm": calm,
    "quick": calm,
    "kill": killing,
    "fw3": scripted(FW3),
    "front": scripted(FRONT),
    "lock": locking,
    "flood": flooding,
}


def nodes_with_daemons(lab: Lab) -> list[Node]:
    return [node for node in lab.topology.nodes if lab.plan.is_roaming(node)]


def walk(lab: Lab, walks: int, stay_s: tuple[float, float], seed: int) -> dict[str, list[tuple[str, float]]]:
    """Have clients walk in turn, at random and the same way each time; return each one's nodes and times."""
    chance, names = random.Random(seed), [node.name for node in clatnodes(lab.topology)]
    steps: dict[str, list[tuple[str, float]]] = {client.name: [] for client in lab.topology.clients}
    for _ in range(walks):
        client = chance.choice(sorted(steps))
        node = chance.choice([name for name in names if name != lab.node_of(client)])
        steps[client].append((node, lab.roam(client, node, hard=chance.random() < 0.7)))
        time.sleep(chance.uniform(*stay_s))
    return steps


def storm(lab: Lab, name: str, walks: int) -> dict[str, RoamingResult]:
    """Let all clients walk in one trouble; return what each measured."""
    with TROUBLES[name](lab), contextlib.ExitStack() as stack:
        talks = {
            client.name: stack.enter_context(
                echo_traffic(lab, client.name, CONNECTIONS, PAUSE_MS, DATAGRAM_MS)
            )
            for client in lab.topology.clients
        }
        time.sleep(1)
        steps = walk(lab, walks, QUICK_S if name == "quick" else STAY_S, seed=len(name))
        time.sleep(REST_S)
        return {client: evaluate(talk.end(), steps[client]) for client, talk in talks.items()}


def tell(name: str, results: dict[str, RoamingResult]) -> int:
    """Print one line; return how many connections broke."""
    times = sorted(h.ms for each in results.values() for h in each.handoffs if h.ms is not None)
    walks = sum(len(each.handoffs) for each in results.values())
    broken = {client: each.broken for client, each in results.items() if each.broken}
    p99 = times[math.ceil(0.99 * len(times)) - 1] if times else math.nan
    stall_ms = max(each.longest_stall_ms for each in results.values())
    p50 = statistics.median(times or [math.nan])
    print(
        f"{name:6} {walks:4} walks, {len(times)} with a packet: handoff p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
        f" longest stall {stall_ms:.0f} ms,"
        f" connections lost {sum(map(len, broken.values()))} of {CONNECTIONS * len(results)}",
        flush=True,
    )
    for client, errors in broken.items():
        print(f"       {client}: {', '.join(sorted(set(errors)))}")
    return sum(map(len, broken.values()))


def main() -> int:
    parser = Parser(prog="make storm", description=__doc__.split("\n")[0])
    parser.add_argument("--topology", default="mesh12")
    parser.add_argument("--walks", type=int, default=100)
    add_rules_option(parser)
    parser.add_argument(
        "troubles", nargs="*", metavar="TROUBLE", help=f"of {', '.join(TROUBLES)}; default: all"
    )
    options = parser.parse_args()
    unknown = [name for name in options.troubles if name not in TROUBLES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no trouble, expected {', '.join(TROUBLES)}")
    use_rules(options)
    lost = 0
    for name in (
        options.troubles or TROUBLES
    ):  # each in a mesh of its own: what one leaves must not help the next
        with Lab(load_topology(options.topology), name=f"storm-{os.getpid()}") as lab:
            lab.wait_ready()
            broken = tell(name, storm(lab, name, options.walks))
            lost += broken if name != "kill" else 0
            for node in nodes_with_daemons(lab):
                if broken:
                    print(f"{node.name}:\n{lab.running.log(node.name, 'l3roamd')}", flush=True)
                counters = lab.roaming_status(node.name)["counters"]
                if counters.get("bugs"):
                    raise LabError(
                        f"{node.name}: {counters['bugs']} bugs: {lab.running.log(node.name, 'l3roamd')}"
                    )
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"storm: {error}")
