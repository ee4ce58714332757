# SPDX-License-Identifier: ISC
"""What a machine does to a plan, and a plan to who works on it. Pure.

Our table opens nothing that another one closes. What is published is asked for at an address that the machine has. And
a publication may take the connection that one is working over.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from reach import passages
from reach.plan import Plan
from reach.reading import Finding, warning
from reach.ruleset import Table


@dataclass(frozen=True, slots=True)
class Machine:
    """How it is, beside what we do to it."""

    tables: tuple[Table, ...]  # of firewalls
    addresses: frozenset[str]
    filters_bridges: bool = False  # net.bridge.bridge-nf-call-iptables
    is_seen: bool = True  # firewalls and WireGuard's peers are shown to root only


def advice(plan: Plan, machine: Machine) -> list[Finding]:
    """Warnings about a machine on which a plan is to work."""
    addresses = set(machine.addresses)
    found = passages.blocked(plan, machine.tables, addresses, machine.filters_bridges)
    return [
        *strangers(plan, addresses),
        *(warning(each.place, passages.sentence(each, plan)) for each in found),
    ]


def strangers(plan: Plan, addresses: set[str]) -> Iterator[Finding]:
    """Public addresses that no device has: the provider translates them, or they are another server's."""
    if plan.public and str(plan.public) not in addresses:
        each = plan.public
        yield warning(
            "server.ipv4",
            f"{each} is at no device of this machine, so nobody will come by it; if the provider translates it, write"
            f" what {plan.wan} has as server.listen",
        )


def cut_off(plan: Plan, ssh: str) -> str | None:
    """Why a publication would take the SSH connection that this is told through; ssh is SSH_CONNECTION's value."""
    words = ssh.split()
    if len(words) != 4:
        return None
    address, port = words[2], int(words[3])
    for dnat in plan.firewall.dnats:
        match = dnat.match
        ports = match.ports or ((1, 65535),)
        takes_port = match.protocol in (None, "tcp") and any(first <= port <= last for first, last in ports)
        if str(match.destination) == address and takes_port and ("tcp", port) not in dnat.excepted:
            return (
                f"you are connected by SSH to {address} port {port}, which would lead to {dnat.to}: connect over IPv6,"
                f' or leave the port out (except = ["tcp/{port}"]); nothing was changed'
            )
    return None
