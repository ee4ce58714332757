# SPDX-License-Identifier: ISC
"""What the machine's own firewall will do to a plan: our table opens nothing that another one closes. Pure."""

import json

from reach.firewall import TABLE
from reach.plan import Plan
from reach.reading import Finding, warning


def advice(plan: Plan, listing: str) -> list[Finding]:
    """Warnings about the chains that `nft -j list chains` lists and that drop what they do not know."""
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
