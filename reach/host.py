# SPDX-License-Identifier: ISC
"""What a machine does to a plan, and a plan to who works on it. Pure.

Our table opens nothing that another one closes; what is published is asked for at an address that the machine has; and
a publication may take the connection that one is working over.
"""

import json
from collections.abc import Iterator

from reach.firewall import TABLE
from reach.plan import Plan
from reach.reading import Finding, warning


def advice(plan: Plan, listing: str, addresses: set[str]) -> list[Finding]:
    """Warnings about a machine with these addresses, and with the chains that `nft -j list chains` lists."""
    return list(strangers(plan, addresses)) + of_chains(plan, listing)


def strangers(plan: Plan, addresses: set[str]) -> Iterator[Finding]:
    """Public addresses that no device has: the provider translates them, or they are another server's."""
    if plan.public and str(plan.public) not in addresses:
        each = plan.public
        yield warning(
            "server.ipv4",
            f"{each} is at no device of this machine, so nobody will come by it; if the provider translates it, write"
            f" what {plan.wan} has as server.listen",
        )


def of_chains(plan: Plan, listing: str) -> list[Finding]:
    """Those that drop what they do not know."""
    found = []
    for each in json.loads(listing)["nftables"]:
        chain = each.get("chain", {})
        if chain.get("table") == TABLE or chain.get("policy") != "drop":
            continue
        place = f"table {chain['family']} {chain['table']}, chain {chain['name']}"
        if chain.get("hook") == "forward" and plan.firewall.closed:
            devices = " and ".join(plan.firewall.closed)
            found.append(
                warning(place, f"drops what it does not know: let {devices} through there, both ways")
            )
        if chain.get("hook") == "input" and plan.firewall.accepts:
            ports = {f"{m.protocol} {first}" for m in plan.firewall.accepts for first, _ in m.ports}
            ports |= {"protocol 4 (IPv4 in IPv6)" for m in plan.firewall.accepts if m.protocol == "ipip"}
            found.append(
                warning(place, f"drops what it does not know: accept {', '.join(sorted(ports))} there")
            )
    return found


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
