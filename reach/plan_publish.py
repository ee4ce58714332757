# SPDX-License-Identifier: ISC
"""What is published, for the end it is planned for; and the whole plan of an end. Pure; see plan."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from reach.check_publish import home_of
from reach.description import IDLE_S, SERVER, Bridge, Description, End, FourInSix, Publication, WireGuard
from reach.firewall import Dnat, Match, Reply, Snat, range_text
from reach.plan import Draft, Listener, Plan, Route, Rule
from reach.plan_bridge import bridge
from reach.plan_links import (
    EVERYTHING,
    LAST_PRIORITY,
    MAIN,
    RULE_PRIORITY,
    SUPPRESS_PRIORITY,
    four_in_six,
    host,
)
from reach.plan_wireguard import wireguard
from reach.ranges import overlap
from reach.reading import Network

LINKS = {FourInSix: four_in_six, WireGuard: wireguard, Bridge: bridge}


def make(whole: Description, name: str) -> Plan:
    """The plan of one end of a description that `check` has no errors about."""
    families = sorted({address.version for _, address in whole.ends[name].outside})
    draft = Draft(wan=whole.ends[name].device, families=tuple(families) or (4, 6))
    whole = outside_of_bridges(whole)
    end = whole.ends[name]
    for link in whole.links_of(name):
        LINKS[type(link)](whole, link, end, draft)  # type: ignore[operator]
    if end.masquerades and whole.links_of(name):  # its machines' gateway is another one
        draft.snats += [Snat(Match(destination=lan)) for lan in end.lan]
    # a port of its own goes before the whole address
    for publication in sorted(whole.publications, key=lambda each: each.is_whole):
        if publication.by == "relay":
            if end.name == SERVER:
                relay(whole, publication, draft)
        elif end.name == SERVER:
            at_server(whole, publication, draft)
        elif home_of(whole, publication) == end:
            at_home(whole, publication, end, draft)
    return draft.finish(name, end.role, end.lan_device)


def outside_of_bridges(whole: Description) -> Description:
    """The server's packets come and go by the bridge that has its device as a port."""
    for link in whole.links:
        if isinstance(link, Bridge) and link.is_bridged:
            return replace(whole, server=replace(whole.server, device=link.name))
    return whole


def public(whole: Description) -> IPv4Address:
    """The public address as the server's own device has it."""
    found = whole.server.listen or whole.server.ipv4
    assert found, "required"
    return found


def outer_matches(whole: Description, each: Publication) -> list[Match]:
    """What anybody sends to the server's address: from the internet, over a link, out of a container, itself.

    Behind a provider's NAT there are two: what the device has, and what everybody knows.
    """
    addresses = dict.fromkeys((public(whole), whole.server.ipv4))
    return [match for address in addresses for match in matches_to(each, each.sources, address)]


def matches_to(each: Publication, sources: tuple[Network, ...], address: IPv4Address | None) -> list[Match]:
    if each.is_whole:
        return [Match(source=sources, destination=address)]
    return [
        Match(source=sources, destination=address, protocol=protocol, ports=ports)
        for protocol, ports in (("tcp", each.tcp), ("udp", each.udp))
        if ports
    ]


def inner_matches(
    each: Publication, in_device: str | None = None, out_device: str | None = None
) -> list[Match]:
    """The same behind the rewriting, as it passes these devices."""
    to = Match(in_device, out_device, None, each.sources, ip_network(each.to))
    if each.is_whole:
        return [to]
    found = []
    for protocol, ports in (("tcp", each.tcp), ("udp", each.udp)):
        inside = tuple((each.to_port, each.to_port) if each.to_port else one for one in ports)
        if inside:
            found.append(replace(to, protocol=protocol, ports=inside))
    return found


def at_server(whole: Description, each: Publication, draft: Draft) -> None:
    assert isinstance(each.to, IPv4Address), "check says so"
    assert each.link, "check says so"
    draft.public = public(whole)
    excepted = (*each.excepted, *own_ports(whole)) if each.is_whole else ()
    for match in outer_matches(whole, each):
        draft.dnats += [Dnat(match, each.to, each.to_port, excepted, is_own) for is_own in (False, True)]
    draft.forwards += [
        replace(match, is_published=True) for match in inner_matches(each, out_device=each.link)
    ]
    draft.forward_family(4, None)
    if each.is_whole:  # what the target begins by itself leaves with its address
        leaving = Match(out_device=whole.server.device, source=(host(each.to),))
        draft.snats.append(Snat(leaving, public(whole)))
        draft.forwards.append(
            Match(in_device=each.link, out_device=whole.server.device, source=(host(each.to),))
        )


def own_ports(whole: Description) -> list[tuple[str, int | str]]:
    """What the server itself answers at its public address: links and relay, which no whole address may take."""
    found: list[tuple[str, int | str]] = []
    for link in whole.links:
        if (isinstance(link, WireGuard) and link.hub == SERVER) or (
            isinstance(link, Bridge) and link.remotes
        ):
            found.append(("udp", link.port))
    for each in whole.publications:
        if each.by == "relay":
            found += [(protocol, range_text(ports)) for protocol, ports in each.protocols()]
    return found


def at_home(whole: Description, each: Publication, end: End, draft: Draft) -> None:
    """Only what is published comes in, and its answers go back the way they came."""
    link = whole.link(each.link)
    assert isinstance(link, FourInSix | WireGuard), "check says so"
    draft.forwards += inner_matches(each, in_device=link.name)
    draft.inputs += inner_matches(each, in_device=link.name)  # the target may be this machine itself
    draft.routes.append(Route(EVERYTHING[0], link.name, link.table))
    draft.rules.append(Rule(4, SUPPRESS_PRIORITY, MAIN, suppresses_default=True))
    draft.any_source(link.name)
    draft.forward_family(4, None)
    hairpin(whole, each, end, link, draft)
    if each.is_whole:
        draft.rules.append(Rule(4, RULE_PRIORITY, link.table, source=host(each.to)))
        draft.forwards.append(Match(out_device=link.name, source=(host(each.to),)))
        return
    draft.rules.append(Rule(4, RULE_PRIORITY, link.table, mark=link.table))
    # where the target is this machine, and has no IPv4 but the link's: an answer needs a way before it gets its mark
    draft.rules.append(Rule(4, LAST_PRIORITY, link.table, source=host(each.to), in_device="lo"))
    draft.replies.append(Reply(link.name, link.table))


def hairpin(
    whole: Description, each: Publication, end: End, link: FourInSix | WireGuard, draft: Draft
) -> None:
    """Who is at home, or comes by another link of it, and asks for the public address, is led to the target here.

    By the server it would come back with an address of this machine's own, or be answered past it, or find no way at
    all where the home has no IPv4. The target sees this machine as the caller, for it answers its neighbours directly.
    """
    assert isinstance(each.to, IPv4Address), "check says so"
    assert whole.server.ipv4, "required"
    to = host(each.to)
    others = [other for other in whole.links_of(end.name) if isinstance(other, WireGuard)]
    near = [lan for lan in end.lan if lan.version == 4]
    near += [network for other in others for network in other.networks if network.version == 4]
    own = [host(n[other.number(end.name)]) for other in others for n in other.networks if n.version == 4]
    excepted = (*each.excepted, *led_elsewhere(whole, end)) if each.is_whole else ()
    if sources := within(near, each.sources):
        for match in matches_to(each, sources, whole.server.ipv4):
            draft.dnats.append(Dnat(match, each.to, each.to_port, excepted))
    for match in matches_to(each, each.sources, whole.server.ipv4):
        draft.dnats.append(Dnat(match, each.to, each.to_port, excepted, is_own=True))
    direct = (*(lan for lan in end.lan if lan.version == 4), *own)
    draft.snats.append(Snat(Match(source=direct, destination=to, is_published=True)))
    draft.rules.append(
        Rule(4, LAST_PRIORITY, link.table, in_device="lo", destination=host(whole.server.ipv4))
    )


def within(networks: Iterable[Network], allowed: tuple[Network, ...]) -> tuple[Network, ...]:
    """The parts of networks that are allowed; all of them when nothing is said of that."""
    if not allowed:
        return tuple(networks)
    pairs = [(one, other) for one in networks for other in allowed if overlap(one, other)]
    return tuple(dict.fromkeys(max(pair, key=lambda each: each.prefixlen) for pair in pairs))


def led_elsewhere(whole: Description, end: End) -> list[tuple[str, int | str]]:
    """Ports that a whole address at this home has not: the server's own, and those that lead to other homes."""
    found = own_ports(whole)
    for each in whole.publications:
        if each.by == "kernel" and home_of(whole, each) != end:
            found += [(protocol, range_text(ports)) for protocol, ports in each.protocols()]
    return found


def relay(whole: Description, each: Publication, draft: Draft) -> None:
    """The relay listens at one address; who comes over a link knows the other, too, where there are two."""
    listen, links = public(whole), [link for link in whole.links if not isinstance(link, Bridge)]
    draft.public = listen
    for protocol, ports in each.protocols():
        draft.listeners.append(
            Listener(
                protocol,
                listen,
                ports,
                each.to,
                each.to_port or ports[0],
                each.proxy,
                each.idle_s or IDLE_S[protocol],
                each.limit,
                each.sources,
            )
        )
        asked = Match(source=each.sources, protocol=protocol, ports=(ports,))
        draft.accepts.append(replace(asked, in_device=whole.server.device))
        draft.inputs += [
            replace(asked, in_device=link.name, destination=listen) for link in links if SERVER in link.ends
        ]
        if whole.server.ipv4 != listen:
            known = replace(asked, destination=whole.server.ipv4)
            draft.dnats += [Dnat(known, listen, is_own=is_own) for is_own in (False, True)]
