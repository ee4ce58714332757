# SPDX-License-Identifier: ISC
"""Steps of a ledger from before the lines of `ip` were in it, as today's. Pure.

So an upgrade takes over what the version before has set up, and breaks no connection.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import Any

from reach import steps
from reach.plan import Br, DeviceAddress, Gretap, Route, Rule, Tunnel
from reach.reading import Network
from reach.render import commands
from reach.steps import MAIN, Step

Values = dict[str, Any]


def of_today(step: Step) -> Step:
    """Raises KeyError, TypeError, ValueError for what no reach has written."""
    is_todays = "up" in step.values or "add" in step.values
    return step if is_todays or step.kind not in MAKERS else MAKERS[step.kind](step.key, step.values)


def address(_key: str, was: Values) -> Step:
    return steps.address(DeviceAddress(was["device"], ip_interface(was["interface"]), was["deprecated"]))


def route(_key: str, was: Values) -> Step:
    table = None if was["table"] == MAIN else was["table"]
    return steps.route(Route(ip_network(was["to"]), was["device"], table))


def rule(_key: str, was: Values) -> Step:
    return steps.rule(
        Rule(
            was["family"],
            was["priority"],
            was["table"],
            network(was, "source"),
            was["mark"],
            was["inverted"],
            was["suppresses"],
            was.get("device"),
            network(was, "destination"),
        )
    )


def network(was: Values, side: str) -> Network | None:
    return ip_network(was[side]) if was.get(side) else None


def tunnel(key: str, was: Values) -> Step:
    ends = IPv6Address(was["local"]), IPv6Address(was["remote"])
    device = Tunnel(key, *ends, was["mtu"], was["encap_limit"])
    return steps.made_device("tunnel", key, [*commands.tunnel(device)])


def bridge(key: str, was: Values) -> Step:
    return steps.made_device("bridge", key, [*commands.bridge(Br(key, is_ours=True, mac=was["mac"]))])


def gretap(key: str, was: Values) -> Step:
    local = IPv4Address(was["local"]) if was["local"] else None
    gue = (was["gue"][0], was["gue"][1]) if was["gue"] else None
    device = Gretap(key, local, IPv4Address(was["remote"]), was["mtu"], was["mac"], was["bridge"], gue)
    return steps.made_device("gretap", key, [*commands.gretap_alone(device)])


MAKERS: dict[str, Callable[[str, Values], Step]] = {
    "address": address,
    "route": route,
    "rule": rule,
    "tunnel": tunnel,
    "bridge": bridge,
    "gretap": gretap,
}
