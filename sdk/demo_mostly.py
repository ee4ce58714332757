# SPDX-License-Identifier: ISC
"""The demo's fourth part: a phone hands its IPv4 address back and translates itself, beside a laptop that does not.

It calls over UDP and downloads from IPv4 addresses while it walks and while its exit dies. No node translates for it.
"""

import json
import time
from dataclasses import replace
from functools import partial

from sdk import roaming
from sdk.checks import CheckRun, DemoError
from sdk.demo_roaming import wait_for
from sdk.lab import Lab
from sdk.lab.plan import clatnodes
from sdk.lab.topology import Topology
from sdk.phone import Phone

STAY_S = 2.0
STRAY = 20  # packets of clients that do nothing
DOWNLOAD_BYTES = 10_000_000


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
    checks.check("calling while it walks", partial(call, lab, phone, steps))
    checks.check("downloading from an IPv4 address", lambda: phone.download(DOWNLOAD_BYTES))
    checks.check("no node translates for it", partial(untouched, lab, before))
    checks.check("the laptop beside it", partial(still_leased, lab, used))


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
    total = 0
    for node in clatnodes(lab.topology):
        for line in lab.running.read(node.name, "/proc/net/dev").splitlines():
            words = line.split()
            if words[0] == "clat:":
                total += int(words[2]) + int(words[10])
    return total


def call(lab: Lab, phone: Phone, steps: list[str]) -> str:
    with roaming.echo_traffic(lab, phone.name) as traffic:
        time.sleep(1)
        walks = roaming.roam_through(lab, phone.name, [(node, STAY_S) for node in steps])
        result = roaming.evaluate(traffic.end(), walks)
    if result.broken:
        raise DemoError(result.broken[0])
    gaps = ", ".join("-" if each.ms is None else f"{each.ms:.0f}" for each in result.handoffs)
    return (
        f"{len(walks)} walks, first packets after {gaps} ms; {result.lost} of {result.sent} datagrams lost, "
        f"longest wait for an echo {result.longest_stall_ms:.0f} ms"
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
