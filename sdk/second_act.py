# SPDX-License-Identifier: ISC
"""The demo's second act: a client walks from node to node while a download, an ssh-like connection and a stream of
datagrams run, and all of them live. Then the same walk with the seed document's rules, which break what is open.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

from sdk import walk
from sdk.lab import WEB, Lab
from sdk.lab.plan import clatnodes
from sdk.story import DemoError, Phone, Story, pattern_sha256

ENDLESS_BYTES = 10**12
STAY_S, HASTE_S = 1.5, 0.4  # at a node; between the two roams of the client that is in a hurry
STALL_S = 3.0  # of an open connection, at most
DEAD_S = 4.0  # without an echo: a connection that took so long is dead to whoever types in it
STALLS = "longest stall"


def second_act(lab: Lab, story: Story, phone: Phone) -> None:
    """Tell it on a lab that is up and whose clients have IPv4."""
    exits_of = lab.topology.exits_of
    others = [node.name for node in clatnodes(lab.topology) if exits_of(node.name) == exits_of(phone.node)]
    nodes = [phone.node, *(name for name in others if name != phone.node)][:3]
    if len(nodes) < 2:
        story.say(f"      no other clatnode in {phone.node}'s mesh: nowhere for {phone.name} to walk to")
        return
    steps = path(nodes)
    story.say(
        f"      {phone.name} walks without a goodbye: {' - '.join([phone.node, *(n for n, _ in steps)])}"
    )
    seen: dict = {}
    if not story.check("a walk", partial(walk_it, lab, phone, steps, seen)):
        return
    walked = seen["walked"]
    nexts = [*walked.handoffs[1:], None]
    for i, (handoff, following) in enumerate(zip(walked.handoffs, nexts, strict=True), 1):
        name, ms = f"handoff {i}, to {handoff.node}", round(handoff.ms or 0)
        stay_s = following.at_s - handoff.at_s if following else STAY_S
        story.check(name, partial(handed_over, handoff, stay_s), ms)
    story.check("download while walking", partial(downloaded, seen["download"]))
    story.check("ssh-like connection while walking", partial(kept_talking, walked))
    story.check("UDP stream while walking", partial(streamed, walked, seen["gate_dropped"]))
    if not lab.from_packages:  # which have no such rules
        story.check("the seed's rules break it", partial(seed_breaks, lab, phone, nodes[1]))
    story.check("new connections after all that", partial(connects, phone))


def path(nodes: list[str]) -> list[tuple[str, float]]:
    """Return where to go and how long (s) to stay: to each node and back home, then two roams within a second."""
    home, others = nodes[0], nodes[1:]
    tour = [(node, STAY_S) for node in [*others, home]]
    return [*tour, (others[0], HASTE_S), (others[-1] if len(others) > 1 else home, STAY_S)] + (
        [(home, STAY_S)] if len(others) > 1 else []
    )


def walk_it(lab: Lab, phone: Phone, steps: list[tuple[str, float]], seen: dict) -> str:
    url = f"http://{WEB}/bytes/{ENDLESS_BYTES}"
    dropped = gate_dropped(lab)
    with walk.talk(lab, phone.name) as talk, walk.Walker(lab, phone.name, "download", url) as download:
        time.sleep(HASTE_S)  # let it run: the first step is to hit connections in full flight
        roams = walk.walk(lab, phone.name, steps)
        seen["walked"] = walk.walked(talk.end(), roams)
        seen["download"] = download.end()
    seen["gate_dropped"] = gate_dropped(lab) - dropped
    hurry_ms = min(later - earlier for (_, earlier), (_, later) in pairwise(roams)) * 1000
    return f"{len(roams)} roams, two of them within {hurry_ms:.0f} ms; {phone.name} is at {lab.node_of(phone.name)}"


def gate_dropped(lab: Lab) -> int:
    """Return how many packets the gates of all nodes have dropped so far."""
    statuses = (lab.roaming_status(node.name) for node in clatnodes(lab.topology))
    return sum(status.get("counters", {}).get("gate_dropped", 0) for status in statuses)


def handed_over(handoff: walk.Handoff, stay_s: float) -> str:
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


def kept_talking(walked: walk.Walked) -> str:
    if walked.broken:
        raise DemoError(walked.broken[0])
    if walked.longest_stall_ms > STALL_S * 1000:
        raise DemoError(f"no echo for {walked.longest_stall_ms:.0f} ms, expected {STALL_S:g} s at the most")
    messages = sum(each["messages"] for each in walked.connections)
    return f"{messages} messages echoed, no reset, {STALLS} {walked.longest_stall_ms:.0f} ms"


def streamed(walked: walk.Walked, dropped: int) -> str:
    if not walked.sent or walked.lost > walked.sent / 2:
        raise DemoError(f"{walked.lost} of {walked.sent} datagrams did not come back")
    return f"{walked.lost} of {walked.sent} datagrams lost; the gates dropped {dropped} packets of the whole walk"


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


def seed_breaks(lab: Lab, phone: Phone, other: str) -> str:
    """It ought to break, with an exit that is not where the client is at home."""
    plat = phone.plat()
    if plat is None:
        raise DemoError(f"{phone.node} has no PLAT")
    if lab.node_of(phone.name) != phone.node:
        lab.roam(phone.name, phone.node)
    phone.connect_anew(time.monotonic(), 5)
    with seed_rules(lab, plat):
        with walk.talk(lab, phone.name) as talk:
            time.sleep(HASTE_S)
            lab.roam(phone.name, other, hard=True)
            wait_for(lambda: sets_of(lab, plat), "the seed's rules")
            time.sleep(DEAD_S)
            (connection,) = talk.end()["connections"]
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
