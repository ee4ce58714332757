# SPDX-License-Identifier: ISC
"""The demo's fourth part: a phone hands its IPv4 address back and translates itself, beside a laptop that does not.

It calls over UDP and downloads from IPv4 addresses while it walks and while its exit dies. No node translates for it.
What is open through an exit is over with it: the server knows that address alone. The call goes on through another.
"""

import json
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from sdk import roaming
from sdk.checks import CheckRun, DemoError
from sdk.demo_roaming import ENDLESS_BYTES, downloaded, wait_for
from sdk.lab import WEB, Lab
from sdk.lab.plan import clatnodes, platnodes
from sdk.lab.topology import Topology
from sdk.phone import FAILOVER_S, Phone

STAY_S = 2.0
STRAY = 20  # packets of clients that do nothing
DATAGRAM_MS = 20.0  # 50 a second, as a call has them
SETTLED_S, ENOUGH = 1.0, 50  # what tells which exit is in use: packets at its translator in this time


def with_mostly(topology: Topology) -> Topology:
    """Return the topology with nodes that tell hosts, where clients roam: only then have they IPv6."""
    settings = replace(topology.settings, mostly=topology.settings.roaming)
    return replace(topology, settings=settings)


def check_mostly(lab: Lab, checks: CheckRun, used: Phone) -> None:
    """Run these checks on a lab that is up. used: a client that goes on as it is, if there is another."""
    clients = [client for client in lab.topology.clients if client.name != used.name]
    if not clients:
        checks.say("      one client alone: nobody beside it who would do without IPv4")
        return
    phone = Phone(lab, clients[0].name)
    nodes = [node.name for node in clatnodes(lab.topology)]
    steps = [*[node for node in nodes if node != lab.node_of(phone.name)][:1], str(lab.node_of(phone.name))]
    checks.say(f"      {phone.name} hears that it can do without IPv4; {used.name} has never heard of that")
    if not checks.check("a phone without an IPv4 address", partial(hand_back, lab, phone)):
        return
    before = translated(lab)
    checks.check("calling and downloading while it walks", partial(call, lab, phone, steps))
    checks.check("no node translates for it", partial(untouched, lab, before))
    checks.check("the laptop beside it", partial(still_leased, lab, used))
    if len(lab.topology.exits_of(str(lab.node_of(phone.name)))) > 1:
        checks.check("calling while its exit fails", partial(exit_fails, lab, phone))


def hand_back(lab: Lab, phone: Phone) -> str:
    """It leaves its access point as a client with a lease and comes back as one that asks for option 108."""
    client = lab.client(phone.name)
    had = lab.lease(phone.name)
    lab.running.stop(phone.name, "udhcpc")
    lab.exec(phone.name, ["ip", "-4", "addr", "flush", "dev", "eth0"])
    lab.running.daemon(client.name, "handset", ["python", "-m", "sdk.handset"])
    wait_for(lambda: bool(says(lab, phone.name).get("clat")), f"the CLAT of {phone.name}", 30)
    said = says(lab, phone.name)
    if lease := lab.lease(phone.name):
        raise DemoError(f"{phone.name} has the address {lease}")
    wait_for(lambda: lab.is_answered(phone.name), f"an answer for {phone.name}", 20)
    return f"{had} is handed back; its CLAT is {said['clat']}, PREF64 {said['pref64']}"


def says(lab: Lab, client: str) -> dict:
    lines = lab.running.read(client, "/run/log/handset.log").splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def translated(lab: Lab) -> int:
    """Return how many packets the clatnodes' translators have had."""
    return sum(packets(lab, node.name, "clat") for node in clatnodes(lab.topology))


def packets(lab: Lab, node: str, device: str) -> int:
    """Return how many packets a device of a node has had, both ways."""
    shown = lab.exec(node, ["cat", "/proc/net/dev"]).stdout  # which a reader from outside has of its own
    lines = [line.split() for line in shown.splitlines()]
    return sum(int(words[2]) + int(words[10]) for words in lines if words[0] == device + ":")


def calling(lab: Lab, phone: Phone) -> roaming.TrafficProgram:
    """A call, and beside it a connection of small messages."""
    return roaming.echo_traffic(lab, phone.name, datagram_ms=DATAGRAM_MS)


def downloading(lab: Lab, phone: Phone) -> roaming.TrafficProgram:
    return roaming.TrafficProgram(lab, phone.name, "download", f"http://{WEB}/bytes/{ENDLESS_BYTES}")


def call(lab: Lab, phone: Phone, steps: list[str]) -> str:
    with calling(lab, phone) as traffic, downloading(lab, phone) as download:
        time.sleep(1)
        walks = roaming.roam_through(lab, phone.name, [(node, STAY_S) for node in steps])
        result, fetched = roaming.evaluate(traffic.end(), walks), downloaded(download.end())
    if result.broken:
        raise DemoError(result.broken[0])
    gaps = ", ".join("-" if each.ms is None else f"{each.ms:.0f}" for each in result.handoffs)
    return (
        f"{len(walks)} walks, first packets after {gaps} ms; {result.lost} of {result.sent} datagrams lost, "
        f"longest wait for an echo {result.longest_stall_ms:.0f} ms; {fetched}"
    )


@dataclass(frozen=True)
class Failure:
    """What a phone noticed of its exit's silent end, seconds; ended: why a connection through it is over, if it is."""

    new_s: float  # until a new connection worked
    silent_s: float  # the longest time without an echo of the call
    since_s: float  # since the last such echo, at the end
    lost: int
    sent: int
    ended: list[str]


def exit_of(lab: Lab, phone: Phone) -> str:
    """Return the platnode that translates what the phone sends now. Raises DemoError if none does."""
    names = [node.name for node in platnodes(lab.topology) if lab.alive()[node.name]]
    with calling(lab, phone):
        before = {name: packets(lab, name, "plat") for name in names}
        time.sleep(SETTLED_S)
        grown = {name: packets(lab, name, "plat") - before[name] for name in names}
    name = max(grown, key=lambda name: grown[name])
    if grown[name] < ENOUGH:
        raise DemoError(f"no platnode has packets of {phone.name}: {grown}")
    return name


def live_through_failure(lab: Lab, phone: Phone, exit: str) -> Failure:
    """Power an exit off while the phone calls and has a connection open through it."""
    with calling(lab, phone) as traffic:
        time.sleep(SETTLED_S)
        failed_s = time.monotonic()
        lab.kill(exit)
        new_s = phone.connect_anew(failed_s, 30)
        time.sleep(SETTLED_S)  # the call goes on
        end_s, said = time.monotonic(), traffic.end()
    result = roaming.evaluate(said, [])
    echoed_s = sorted(back_s for _, back_s in said["datagrams"] if back_s is not None)
    silent_s = max((later - earlier for earlier, later in pairwise(echoed_s)), default=end_s - failed_s)
    return Failure(new_s, silent_s, end_s - max(echoed_s), result.lost, result.sent, result.broken)


def exit_fails(lab: Lab, phone: Phone) -> str:
    used = exit_of(lab, phone)
    if used == lab.node_of(phone.name):  # it keeps its exit when it walks
        others = [node.name for node in clatnodes(lab.topology) if node.name != used]
        roaming.roam_through(lab, phone.name, [(others[0], STAY_S)])
    found = live_through_failure(lab, phone, used)
    lab.start(used)
    if found.new_s > FAILOVER_S:
        raise DemoError(
            f"new connections only after {found.new_s:.1f} s, expected {FAILOVER_S:g} s at the most"
        )
    if found.since_s > SETTLED_S:
        raise DemoError(f"the call has had no echo for {found.since_s:.1f} s")
    over = found.ended[0] if found.ended else "silent"
    return (
        f"{used} powered off; new connections after {found.new_s:.1f} s; the call was silent for "
        f"{found.silent_s:.1f} s, {found.lost} of {found.sent} datagrams; what was open through {used} is over, as its "
        f"address is ({over})"
    )


def untouched(lab: Lab, before: int) -> str:
    more = translated(lab) - before
    if more > STRAY:
        raise DemoError(f"the translators of the nodes have had {more} packets")
    return f"{more} packets at the translators of all clatnodes meanwhile"


def still_leased(lab: Lab, laptop: Phone) -> str:
    if not lab.lease(laptop.name) or not lab.is_answered(laptop.name):
        raise DemoError(f"{laptop.name} has no lease, or no answer")
    return f"{laptop.name} has {lab.lease(laptop.name)} and IPv4 by its node"
