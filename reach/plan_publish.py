# SPDX-License-Identifier: ISC
"""What is published, for the end it is planned for; and the whole plan of an end. Pure; see plan."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from reach.check_publish import home_of
from reach.description import IDLE_S, SERVER, Bridge, Description, End, FourInSix, Publication, WireGuard
from reach.firewall import Dnat, Match, Reply, Snat, range_text
from reach.plan import Draft, Listener, Plan, Route, Rule
from reach.plan_bridge import bridge
from reach.plan_links import EVERYTHING, MAIN, RULE_PRIORITY, SUPPRESS_PRIORITY, four_in_six, host
from reach.plan_wireguard import wireguard

LINKS = {FourInSix: four_in_six, WireGuard: wireguard, Bridge: bridge}


def make(whole: Description, name: str) -> Plan:
    """The plan of one end of a description that `check` has no errors about."""
    draft = Draft(wan=whole.ends[name].device)
    whole = outside_of_bridges(whole)
    end = whole.ends[name]
    for link in whole.links_of(name):
        LINKS[type(link)](whole, link, end, draft)  # type: ignore[operator]
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
    """What callers send to the server's address."""
    device, address = whole.server.device, public(whole)
    if each.is_whole:
        return [Match(in_device=device, source=each.sources, destination=address)]
    return [
        Match(in_device=device, source=each.sources, destination=address, protocol=protocol, ports=ports)
        for protocol, ports in (("tcp", each.tcp), ("udp", each.udp))
        if ports
    ]


def inner_matches(each: Publication, in_device: str) -> list[Match]:
    """The same behind the rewriting, as it comes out of the link."""
    to = ip_network(each.to)
    if each.is_whole:
        return [Match(in_device=in_device, source=each.sources, destination=to)]
    found = []
    for protocol, ports in (("tcp", each.tcp), ("udp", each.udp)):
        inside = tuple((each.to_port, each.to_port) if each.to_port else one for one in ports)
        if inside:
            found.append(Match(in_device, None, None, each.sources, to, protocol, inside))
    return found


def at_server(whole: Description, each: Publication, draft: Draft) -> None:
    assert isinstance(each.to, IPv4Address), "check says so"
    assert each.link, "check says so"
    for match in outer_matches(whole, each):
        excepted = (*each.excepted, *own_ports(whole)) if each.is_whole else ()
        draft.dnats.append(Dnat(match, each.to, each.to_port, excepted))
    draft.forwards.append(Match(in_device=whole.server.device, out_device=each.link, is_published=True))
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
    draft.forwards += inner_matches(each, link.name)
    draft.inputs += inner_matches(each, link.name)  # the target may be this machine itself
    draft.routes.append(Route(EVERYTHING[0], link.name, link.table))
    draft.rules.append(Rule(4, SUPPRESS_PRIORITY, MAIN, suppresses_default=True))
    draft.any_source(link.name)
    draft.forward_family(4, None)
    if each.is_whole:
        draft.rules.append(Rule(4, RULE_PRIORITY, link.table, source=host(each.to)))
        draft.forwards.append(Match(out_device=link.name, source=(host(each.to),)))
        return
    draft.rules.append(Rule(4, RULE_PRIORITY, link.table, mark=link.table))
    draft.replies.append(Reply(link.name, link.table))


def relay(whole: Description, each: Publication, draft: Draft) -> None:
    for protocol, ports in each.protocols():
        draft.listeners.append(
            Listener(
                protocol,
                public(whole),
                ports,
                each.to,
                each.to_port or ports[0],
                each.proxy,
                each.idle_s or IDLE_S[protocol],
                each.limit,
                each.sources,
            )
        )
        draft.accepts.append(
            Match(in_device=whole.server.device, source=each.sources, protocol=protocol, ports=(ports,))
        )
