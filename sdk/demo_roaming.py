# SPDX-License-Identifier: ISC
"""The demo's checks of roaming: a client roams while a download, an ssh-like connection and a UDP stream run.

All of them must survive. Then it roams with the seed document's rules, which break open connections.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

from sdk import roaming
from sdk.checks import CheckRun, DemoError
from sdk.lab import WEB, Lab
from sdk.lab.plan import clatnodes
from sdk.phone import Phone, pattern_sha256

ENDLESS_BYTES = 10**12
STAY_S, SHORT_STAY_S = 1.5, 0.4  # seconds at a node; between the two roams that follow each other closely
STALL_S = 3.0  # of an open connection, at most
DEAD_S = 4.0  # without an echo: a connection that stalls for so long is unusable for a person
STALLS = "longest stall"


def check_roaming(lab: Lab, checks: CheckRun, phone: Phone) -> None:
    """Run these checks on a lab that is up and whose clients have IPv4."""
    exits_of = lab.topology.exits_of
    others = [node.name for node in clatnodes(lab.topology) if exits_of(node.name) == exits_of(phone.node)]
    nodes = [phone.node, *(name for name in others if name != phone.node)][:3]
    if len(nodes) < 2:
        checks.say(f"      no other clatnode in {phone.node}'s mesh: nowhere for {phone.name} to roam to")
        return
    steps = path(nodes)
    checks.say(
        f"      {phone.name} roams without disassociation: {' - '.join([phone.node, *(n for n, _ in steps)])}"
    )
    seen: dict = {}
    if not checks.check("roaming", partial(roam_under_load, lab, phone, steps, seen)):
        return
    result = seen["result"]
    nexts = [*result.handoffs[1:], None]
    for i, (handoff, following) in enumerate(zip(result.handoffs, nexts, strict=True), 1):
        name, ms = f"handoff {i}, to {handoff.node}", round(handoff.ms or 0)
        stay_s = following.at_s - handoff.at_s if following else STAY_S
        checks.check(name, partial(handoff_time, handoff, stay_s), ms)
    checks.check("download while roaming", partial(downloaded, seen["download"]))
    checks.check("ssh-like connection while roaming", partial(echo_connections, result))
    checks.check("UDP stream while roaming", partial(datagram_stream, result, seen["gate_dropped"]))
    if not lab.from_packages:  # which have no such rules
        checks.check("the seed's rules break it", partial(seed_rules_break, lab, phone, nodes[1]))
    checks.check("new connections after all that", partial(connects, phone))


def path(nodes: list[str]) -> list[tuple[str, float]]:
    """Return where to go and how long (s) to stay: to each node and back home, then two roams within a second."""
    home, others = nodes[0], nodes[1:]
    tour = [(node, STAY_S) for node in [*others, home]]
    return [*tour, (others[0], SHORT_STAY_S), (others[-1] if len(others) > 1 else home, STAY_S)] + (
        [(home, STAY_S)] if len(others) > 1 else []
    )


def roam_under_load(lab: Lab, phone: Phone, steps: list[tuple[str, float]], seen: dict) -> str:
    url = f"http://{WEB}/bytes/{ENDLESS_BYTES}"
    dropped = gate_dropped(lab)
    with (
        roaming.echo_traffic(lab, phone.name) as echo,
        roaming.TrafficProgram(lab, phone.name, "download", url) as download,
    ):
        time.sleep(SHORT_STAY_S)  # the first roam must meet connections that carry data
        roams = roaming.roam_through(lab, phone.name, steps)
        seen["result"] = roaming.evaluate(echo.end(), roams)
        seen["download"] = download.end()
    seen["gate_dropped"] = gate_dropped(lab) - dropped
    shortest_ms = min(later - earlier for (_, earlier), (_, later) in pairwise(roams)) * 1000
    return f"{len(roams)} roams, two of them within {shortest_ms:.0f} ms; {phone.name} is at {lab.node_of(phone.name)}"


def gate_dropped(lab: Lab) -> int:
    """Return how many packets the gates of all nodes have dropped so far."""
    statuses = (lab.roaming_status(node.name) for node in clatnodes(lab.topology))
    return sum(status.get("counters", {}).get("gate_dropped", 0) for status in statuses)


def handoff_time(handoff: roaming.Handoff, stay_s: float) -> str:
    if handoff.ms is None:
        if stay_s < STAY_S:  # in a hurry, on a machine that may stand still for as long; its connections tell
            return f"it went on after {stay_s * 1000:.0f} ms, before a packet came through"
        raise DemoError(f"no packet came through in {stay_s * 1000:.0f} ms, before the next roam")
    return f"first packet through {handoff.ms:.0f} ms after the association"


def downloaded(result: dict) -> str:
    if result["error"]:
        raise DemoError(f"{result['error']} after {result['bytes']} bytes")
    if result["sha256"] != pattern_sha256(result["bytes"]):
        raise DemoError(f"{result['bytes']} bytes, and their SHA-256 is wrong")
    if result["stall_s"] > STALL_S:
        raise DemoError(f"stood still for {result['stall_s']:.1f} s, expected {STALL_S:g} s at the most")
    size = result["bytes"] / 1e6
    return f"one connection, {size:.0f} MB, SHA-256 right, {STALLS} {result['stall_s'] * 1000:.0f} ms"


def echo_connections(result: roaming.RoamingResult) -> str:
    if result.broken:
        raise DemoError(result.broken[0])
    if result.longest_stall_ms > STALL_S * 1000:
        raise DemoError(f"no echo for {result.longest_stall_ms:.0f} ms, expected {STALL_S:g} s at the most")
    messages = sum(each["messages"] for each in result.connections)
    return f"{messages} messages echoed, no reset, {STALLS} {result.longest_stall_ms:.0f} ms"


def datagram_stream(result: roaming.RoamingResult, dropped: int) -> str:
    if not result.sent or result.lost > result.sent / 2:
        raise DemoError(f"{result.lost} of {result.sent} datagrams did not come back")
    return f"{result.lost} of {result.sent} datagrams lost; the gates dropped {dropped} packets meanwhile"


def connects(phone: Phone) -> str:
    took_s = phone.connect_anew(time.monotonic(), 5)
    return f"after {took_s * 1000:.0f} ms"


# With the seed document's rules


@contextmanager
def seed_rules(lab: Lab, plat: str):
    """While it lasts, a platnode's roaming daemon uses the seed's rules instead of ours."""
    node, seed = lab.node(plat), ["python", "-m", "sdk.seed_l3roamd"]
    lab.running.stop(plat, "l3roamd")
    lab.exec(
        plat, ["nft", "delete", "table", "ip6", "l3roamd_plat"], check=False
    )  # its state, the secret, stays
    try:
        lab.programs.start_l3roamd(node, [*seed, *lab.plan.l3roamd(node)[1:]])
        yield
    finally:
        lab.running.stop(plat, "l3roamd")
        lab.exec(plat, ["python", "-m", "sdk.seed_rules"])
        lab.programs.start_l3roamd(node)


def seed_rules_break(lab: Lab, phone: Phone, other: str) -> str:
    """Expect a broken connection. The client uses an exit on another node than its own."""
    plat = phone.plat()
    if plat is None:
        raise DemoError(f"{phone.node} has no PLAT")
    if lab.node_of(phone.name) != phone.node:
        lab.roam(phone.name, phone.node)
    phone.connect_anew(time.monotonic(), 5)
    with seed_rules(lab, plat):
        with roaming.echo_traffic(lab, phone.name) as echo:
            time.sleep(SHORT_STAY_S)
            lab.roam(phone.name, other, hard=True)
            wait_for(lambda: sets_of(lab, plat), "the seed's rules")
            time.sleep(DEAD_S)
            (connection,) = echo.end()["connections"]
        lab.roam(phone.name, phone.node)
        phone.connect_anew(time.monotonic(), 10)
    if not connection["error"] and connection["stall_s"] < DEAD_S / 2:
        raise DemoError(
            f"the open connection lived (longest stall {connection['stall_s'] * 1000:.0f} ms): expected its end"
        )
    how = connection["error"] or f"no echo for {connection['stall_s']:.1f} s"
    return f"as it should: with NETMAP in {plat}'s nat table the open connection died ({how})"


def sets_of(lab: Lab, node: str) -> bool:
    done = lab.exec(node, ["ipset", "list", "-n"], check=False)
    return "roto" in done.stdout


def wait_for(is_so: Callable[[], bool], what: str, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not come within {within_s:g} s")
        time.sleep(0.05)
