# SPDX-License-Identifier: ISC
"""Roaming: how long a handoff takes, what a thousand of them lose, and what they cost the platnode.

The mesh has four nodes, each one link of 5 ms away from each other: three clatnodes and the platnode.

Settled roams: a few clients roam between the clatnodes without deauthentication. They stay at each node until babel has
converged and the state of the last roam has expired. sdk/roaming.py defines a handoff. The network's share of it is two
round trips, CLAIM to the old node and ROAM to the platnode, measured by ping in the same lab.

A storm: one client roams every quarter of a second, with 20 TCP connections and a stream of datagrams. It stops after
ROAMS roams (environment; default 1,000) or when the time is over. Its losses are counted.

The same settled roams between nodes that prepare for one another's clients: roam.prepared_...

The same with iptables instead of nftables (roam.xtables_...), and with both on the oldest MicroPython
(roam.micropython_...), for a shorter time.

What the rules cost is in roam_rules.py, what the daemon takes in roam_daemon.py, and how many instructions a handoff is
in roam_instructions.py.
"""

import contextlib
import itertools
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator

from bench import roam_daemon, roam_rules
from bench.roam_interpreters import CPYTHON, Interpreter, daemons_run_on, ways
from sdk.demo_roaming import gate_dropped
from sdk.lab import Lab, LabError
from sdk.lab.plan import clatnodes
from sdk.lab.topology_reader import parse_topology
from sdk.roaming import Handoff, RoamingResult, echo_traffic, evaluate
from xlat464.address import format_ipv6
from xlat464.node import management_address

CLIENTS = ("ann", "ben", "cay", "dan")
SETTLED_ROAMS_S, SETTLED_STAY_S = 270.0, 4.5
ROAMS = 1000
STORM_S = 280.0  # the roams that fit into it are those that count
SHORT_S = 120.0  # of either, with iptables and on MicroPython
STAY_S = (0.15, 0.35)  # at a node, at least and at most
SHORT = ("handoff_p50_ms", "handoff_p99_ms", "storm_handoff_p99_ms", "roams", "connections_lost")
CONNECTIONS, PAUSE_MS, DATAGRAM_MS = 20, 100, 4
LINK_MS = 5
MESH = "\n".join(
    [
        *(f'[nodes.{name}]\nrole = "clat"' for name in "abc"),
        '[nodes.exit]\nrole = "plat"',
        *(
            f'[[links]]\nbetween = ["{one}", "{other}"]\ndelay_ms = {LINK_MS}'
            for one, other in ("ab", "bc", "ca")
        ),
        *(f'[[links]]\nbetween = ["{name}", "exit"]\ndelay_ms = {LINK_MS}' for name in "abc"),
        *(f'[clients.{name}]\nnode = "a"' for name in ("storm", *CLIENTS)),
    ]
)


def roam_figures(
    roams: int = ROAMS,
    seconds: float = STORM_S,
    say: Callable[[str], None] = lambda line: None,
    rules: str = "nft",
) -> dict[str, float]:
    """Walk, and return handoffs, losses and stalls. Raises LabError when the lab does not do as it should."""
    with mesh_of(f'rules = "{rules}"', say) as lab:
        network_ms = round_trips_ms(lab)
        say(f"CLAIM and ROAM: {network_ms:.1f} ms of round trips")
        settled = settled_roams(lab, min(SETTLED_ROAMS_S, seconds), say)
        return {**settled_figures(settled, network_ms), **storm(lab, roams, seconds, say)}


def prepared_figures(
    seconds: float = SHORT_S, say: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
    """Walk between nodes that prepare for one another's clients, and return handoffs. Raises LabError."""
    with mesh_of("prepare = true", say) as lab:
        p50, p99 = percentiles_ms(settled_roams(lab, seconds, say))
    return {"roam.prepared_handoff_p50_ms": round(p50, 1), "roam.prepared_handoff_p99_ms": round(p99, 1)}


@contextlib.contextmanager
def mesh_of(setting: str, say: Callable[[str], None]) -> Iterator[Lab]:
    """The bench's mesh with a setting of the lab, once its nodes have found one another."""
    topology = parse_topology(f"[lab]\n{setting}\n{MESH}", "the bench's mesh")
    with Lab(topology, name=f"bench-{os.getpid()}", log=say) as lab:
        lab.wait_ready()
        wait_for_neighbours(lab)
        yield lab


def settled_roams(lab: Lab, seconds: float, say: Callable[[str], None]) -> list[Handoff]:
    """Let the clients take turns, each SETTLED_STAY_S at a node, and return their handoffs."""
    names = [node.name for node in clatnodes(lab.topology)]
    steps: dict[str, list[tuple[str, float]]] = {client: [] for client in CLIENTS}
    with contextlib.ExitStack() as stack:
        talks = {
            client: stack.enter_context(echo_traffic(lab, client, 1, PAUSE_MS, DATAGRAM_MS))
            for client in CLIENTS
        }
        end_s = time.monotonic() + seconds
        for turn in itertools.count():
            if time.monotonic() > end_s:
                break
            client, at = CLIENTS[turn % len(CLIENTS)], names[(1 + turn // len(CLIENTS)) % len(names)]
            steps[client].append((at, lab.roam(client, at, hard=True)))
            time.sleep(SETTLED_STAY_S / len(CLIENTS))
            if turn % 60 == 59:
                say(f"{turn + 1} handoffs of settled roams")
        time.sleep(1)
        return [
            handoff for client in CLIENTS for handoff in evaluate(talks[client].end(), steps[client]).handoffs
        ]


def storm(lab: Lab, roams: int, seconds: float, say: Callable[[str], None]) -> dict[str, float]:
    dropped = gate_dropped(lab)
    with echo_traffic(lab, "storm", CONNECTIONS, PAUSE_MS, DATAGRAM_MS) as talking:
        time.sleep(1)
        steps = random_roams(lab, roams, seconds, say)
        time.sleep(1)
        found = evaluate(talking.end(), steps)
    return storm_figures(found, gate_dropped(lab) - dropped)


def random_roams(lab: Lab, roams: int, seconds: float, say: Callable[[str], None]) -> list[tuple[str, float]]:
    """Walk at random, the same way each time."""
    chance, names = random.Random(1), [node.name for node in clatnodes(lab.topology)]
    steps: list[tuple[str, float]] = []
    begun, at = time.monotonic(), "a"
    while len(steps) < roams and time.monotonic() < begun + seconds:
        at = chance.choice([name for name in names if name != at])
        steps.append((at, lab.roam("storm", at, hard=True)))
        time.sleep(chance.uniform(*STAY_S))
        if len(steps) % 100 == 0:
            say(f"{len(steps)} roams after {time.monotonic() - begun:.0f} s")
    return steps


def wait_for_neighbours(lab: Lab) -> None:
    """Until every clatnode reaches every other one and the platnode over the direct link."""
    deadline = time.monotonic() + 60
    while round_trips_ms(lab) > 4 * LINK_MS * 1.3:
        if time.monotonic() > deadline:
            raise LabError("babel did not find the direct links within 60 s")
        time.sleep(1)


def round_trips_ms(lab: Lab) -> float:
    """Return what a CLAIM to another clatnode and a ROAM to the platnode take on their way, in the worst case."""
    nodes = clatnodes(lab.topology)
    prefixes = {node.name: lab.plan.clat_prefix(node) for node in nodes}
    claims = [
        ping_ms(lab, one.name, prefixes[other.name]) for one in nodes for other in nodes if one != other
    ]
    roam = [ping_ms(lab, node.name, lab.plan.plat_prefix(lab.node("exit"))) for node in nodes]
    return max(claims) + max(roam)


def ping_ms(lab: Lab, node: str, prefix: bytes) -> float:
    """Return the shortest of a few round trips to a node's management address."""
    address = format_ipv6(management_address(prefix))
    source = format_ipv6(management_address(lab.plan.clat_prefix(lab.node(node))))
    shown = lab.exec(node, ["ping", "-c", "5", "-i", "0.02", "-W", "1", "-I", source, address], check=False)
    last = shown.stdout.strip().splitlines()[-1:] or [""]
    return float(last[0].split("=")[1].split("/")[0]) if "rtt" in last[0] else math.inf


def percentiles_ms(handoffs: list[Handoff]) -> tuple[float, float]:
    """Return p50 and p99. Raises LabError if there is none to tell of."""
    times = sorted(handoff.ms for handoff in handoffs if handoff.ms is not None)
    if not times:
        raise LabError("no handoff let a packet through")
    return statistics.median(times), times[math.ceil(0.99 * len(times)) - 1]


def short_figures(
    interpreter: Interpreter, rules: str, roams: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Return those of the figures with a goal, or what these are about, of the daemon on it with these rules."""
    with daemons_run_on(interpreter):
        found = roam_figures(roams, SHORT_S, say, rules)
    return {interpreter.keys(rules) + name: found[f"roam.{name}"] for name in SHORT}


def settled_figures(handoffs: list[Handoff], network_ms: float) -> dict[str, float]:
    p50, p99 = percentiles_ms(handoffs)
    return {
        "roam.handoffs": len(handoffs),
        "roam.handoff_p50_ms": round(p50, 1),
        "roam.handoff_p99_ms": round(p99, 1),
        "roam.handoff_network_ms": round(network_ms, 1),
        "roam.handoff_ours_p50_ms": round(p50 - network_ms, 1),
    }


def storm_figures(found: RoamingResult, dropped: int) -> dict[str, float]:
    p50, p99 = percentiles_ms(found.handoffs)
    return {
        "roam.roams": len(found.handoffs),
        "roam.storm_handoff_p50_ms": round(p50, 1),
        "roam.storm_handoff_p99_ms": round(p99, 1),
        "roam.handoffs_without_packet": sum(handoff.ms is None for handoff in found.handoffs),
        "roam.connections_lost": len(found.broken),
        "roam.gate_dropped": dropped,
        "roam.air_lost": max(0, found.lost - dropped),
        "roam.longest_stall_ms": round(found.longest_stall_ms),
    }


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """All of roam.*; the environment's ROAMS is how many roams."""
    roams = int(os.environ.get("ROAMS", ROAMS))
    found = roam_figures(roams, say=say) | prepared_figures(say=say)
    for interpreter, rules in ways(say):
        if (interpreter, rules) != (CPYTHON, "nft"):
            found |= short_figures(interpreter, rules, roams, say)
    return {**found, **roam_rules.run(say), **roam_daemon.run(say)}


if __name__ == "__main__":
    print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
