# SPDX-License-Identifier: ISC
"""The demo's third part: a phone as it comes from a shop walks while connections of both families are open.

It has made its IPv6 addresses of router advertisements, one of them for privacy, and says nothing unasked. Its IPv4
connection goes to the internet, its IPv6 connection to another client of the mesh.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sdk import roaming
from sdk.checks import CheckRun, DemoError
from sdk.demo_roaming import echo_connections, wait_for
from sdk.lab import Lab
from sdk.lab.plan import clatnodes
from sdk.lab.services import ECHO_PORT
from sdk.phone import Phone
from xlat464.address import format_mac

STAY_S = 3.0  # at a node: babel may need two of them to tell of a new place
FIRST_S = 2.0  # until the first packet of a silent phone is answered
TOLD_S = 20.0  # babeld tells of a new address within six seconds, if no message of it is lost


def check_both_families(lab: Lab, checks: CheckRun, used: Phone) -> None:
    """Run these checks on a lab that is up. used: a phone that is known already; another one is better."""
    clients = [client.name for client in lab.topology.clients]
    name = next((each for each in clients if each != used.name), used.name)
    others = [each for each in clients if each != name]
    phone = Phone(lab, name)
    exits_of = lab.topology.exits_of
    nodes = [node.name for node in clatnodes(lab.topology) if exits_of(node.name) == exits_of(phone.node)]
    steps = [*[each for each in nodes if each != phone.node][:2], phone.node]
    if len(steps) < 2 or not others:
        checks.say(
            f"      no other clatnode or no other client: nowhere for {name} to walk to, or nobody to talk to"
        )
        return
    checks.say(
        f"      {name} (SLAAC, an address for privacy, silent) walks: {' - '.join([phone.node, *steps])}"
    )
    peer = next((each for each in others if lab.node_of(each) != phone.node), others[0])
    far = steps[0]
    if not checks.check("IPv6 of a silent phone", partial(first_packet, lab, name, far)):
        return
    seen: dict = {}
    if not checks.check("walking with both families", partial(walk, lab, name, peer, steps, seen)):
        return
    checks.check("IPv4 connection of the phone", partial(open_connection, seen["ipv4"]))
    checks.check("IPv6 connection of the phone", partial(open_connection, seen["ipv6"]))
    checks.check("its addresses are at one node", partial(at_one_node, lab, name, nodes))


def addresses_of(lab: Lab, client: str) -> list[str]:
    wait_for(lambda: len(lab.ipv6_addresses(client)) >= 2, f"the two IPv6 addresses of {client}", 30)
    return lab.ipv6_addresses(client)


def first_packet(lab: Lab, client: str, far: str) -> str:
    """The first packet from each of its addresses, to a node across the mesh."""
    slowest_ms = 0.0
    found = addresses_of(lab, client)
    for address in found:
        wait_for(partial(has_way_back, lab, far, address), f"babel's route to {address} at {far}", TOLD_S)
        words = ["ping", "-6", "-c", "1", "-W", "5", "-I", address, lab.plan.node_address(lab.node(far))]
        time_ms = lab.exec(client, words, check=False).stdout.partition("time=")[2].split()
        if not time_ms:
            raise DemoError(f"no answer to the first packet of {address}")
        slowest_ms = max(slowest_ms, float(time_ms[0]))
    if slowest_ms > FIRST_S * 1000:
        raise DemoError(
            f"the first answer came after {slowest_ms:.0f} ms, expected {FIRST_S * 1000:g} ms at the most"
        )
    return f"{len(found)} addresses, the first packet of each was answered within {slowest_ms:.0f} ms"


def has_way_back(lab: Lab, node: str, address: str) -> bool:
    return bool(lab.exec(node, ["ip", "-6", "route", "show", address]).stdout)


@contextmanager
def echo_server(lab: Lab, client: str, towards: str) -> Iterator[str]:
    """An echo service on a client; yield its address, which the mesh has heard of."""
    address = addresses_of(lab, client)[0]
    heard = ["ping", "-6", "-c", "1", "-W", "1", "-I", address, towards]
    wait_for(
        lambda: lab.exec(client, heard, check=False).returncode == 0,
        f"{client}'s answer from {towards}",
        TOLD_S,
    )
    words = ["python", "-m", "sdk.lab.services", address]
    server = lab.popen(client, words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if server.stdout is None or server.stdout.readline() != "ready\n":
            raise DemoError(f"the echo service of {client} did not start")
        yield address
    finally:
        server.kill()
        server.communicate()


def walk(lab: Lab, client: str, peer: str, steps: list[str], seen: dict) -> str:
    mine = addresses_of(lab, client)[0]
    with (
        echo_server(lab, peer, mine) as there,
        roaming.TrafficProgram(lab, client, "echo", there, str(ECHO_PORT)) as ipv6,
        roaming.echo_traffic(lab, client) as ipv4,
    ):
        time.sleep(1)  # the first walk must meet connections that carry data
        walks = roaming.roam_through(lab, client, [(node, STAY_S) for node in steps])
        seen["ipv4"] = roaming.evaluate(ipv4.end(), walks)
        seen["ipv6"] = roaming.evaluate(ipv6.end(), walks)
    return f"{len(walks)} walks without a word to the node before; {client} is at {lab.node_of(client)}"


def open_connection(result: roaming.RoamingResult) -> str:
    echoed = echo_connections(result)
    gaps = ", ".join("-" if each.ms is None else f"{each.ms:.0f}" for each in result.handoffs)
    return f"{echoed}; first packets after {gaps} ms; {result.lost} of {result.sent} datagrams lost"


def at_one_node(lab: Lab, client: str, nodes: list[str]) -> str:
    """Each of its addresses is routed to it at its own node, and the others have nothing of it."""
    here, known = lab.node_of(client), set(lab.ipv6_addresses(client))
    mac = format_mac(lab.client(client).mac)

    def served(node: str) -> set[str]:
        found = [each for each in lab.roaming_status(node).get("clients", []) if each["mac"] == mac]
        return set(found[0]["addresses"]) if found else set()

    def is_left(node: str) -> bool:
        return not served(node)

    wait_for(lambda: known <= served(str(here)), f"{client}'s addresses at {here}")
    for node in nodes:
        if node != here:
            wait_for(partial(is_left, node), f"the end of {client} at {node}")
    return f"{len(known)} IPv6 addresses and {lab.lease(client)} at {here}, nothing at any other node"
