# SPDX-License-Identifier: ISC
"""What IPv4 in IPv6 asks of the end it is planned for, and what all links have in common. Pure; see plan."""

from collections.abc import Iterable
from ipaddress import IPv6Interface, ip_network

from reach.description import SERVER, Description, End, FourInSix
from reach.firewall import Match
from reach.plan import DeviceAddress, Draft, Route, Tunnel
from reach.reading import Network

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
MAIN = 254
SUPPRESS_PRIORITY = 4640  # "main, but its default route": specific routes win over our rules
RULE_PRIORITY = 4641
LAST_PRIORITY = 32780  # behind the main table (32766): for what it has no way to


def families(networks: Iterable[Network]) -> list[int]:
    return sorted({network.version for network in networks})


def by_family(networks: Iterable[Network]) -> list[tuple[Network, ...]]:
    """The networks, IPv4 and IPv6 apart: a rule is of one family."""
    found = tuple(networks)
    groups = (tuple(each for each in found if each.version == version) for version in (4, 6))
    return [group for group in groups if group]


def host(address) -> Network:
    return ip_network(address)


def four_in_six(whole: Description, link: FourInSix, end: End, draft: Draft) -> None:
    at_server = end.name == SERVER
    local, remote = link.server_address, link.home_address
    if not at_server:
        local, remote = remote, local
    assert end.device, "the server and every home have one"
    if not end.ipv6 or local != end.ipv6.ip:  # else it is the machine's own, and stays as it is
        draft.addresses.append(DeviceAddress(end.device, IPv6Interface(f"{local}/128"), is_deprecated=True))
    draft.devices.append(Tunnel(link.name, local, remote, link.mtu_bytes, link.encap_limit))
    draft.accepts.append(
        Match(in_device=end.device, source=(host(remote),), destination=local, protocol="ipip")
    )
    draft.any_source(link.name)
    draft.forward_family(4, None)
    draft.closed.append(link.name)
    draft.clamps.append(link.name)
    if at_server:
        lans = [lan for lan in whole.ends[link.home].lan if lan.version == 4]
        draft.routes += [Route(lan, link.name) for lan in lans]
