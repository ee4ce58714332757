# SPDX-License-Identifier: ISC
"""Our own searches: a packet waits for an address that no way is known to. No I/O.

SEEK goes to all nodes, or to the one where the client is said to be. For IPv4 the node answers that has the client. For
IPv6 none does: babel tells of a client that is found, so we look for the route. Whoever makes addresses up shall not
have the mesh search for them all: there is a bound for each client, and one for the node. What nobody has is not sought
again for a moment.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import (
    AnswerArp,
    CheckRoute,
    PassWanted,
    QueueWanted,
    RefuseWanted,
    SeekAddress,
)
from l3roamd_py.core.client import Sought
from l3roamd_py.core.info import IPV4_MAPPED
from l3roamd_py.core.node import Node, is_usable, node_of
from l3roamd_py.core.options import Options
from l3roamd_py.core.pairs import begin, correct, remove, use
from l3roamd_py.core.signs import see
from runtime.ordered import oldest


def on_wanted(node: Node, mac: bytes, source: bytes, destination: bytes, is_arp: bool) -> None:
    """A client of ours has a packet for an address, or asks for it by ARP; or the mesh has one of IPv6 (mac: none)."""
    if mac and node.owner_of.get(source) != node.name_of(mac, source):
        see(node, mac, source)  # its gate opens, and then we are told again
        return None
    if len(destination) == 16:
        if not node.is_client_ipv6(destination):
            return node.do(PassWanted(destination))
        return _search_for(node, mac, source, destination, is_arp)
    if destination in node.owner_of:
        if not is_arp:
            node.passed.add(destination)
            node.do(PassWanted(destination, True))
        return None
    if not is_usable(destination):
        return node.do(RefuseWanted(destination))
    if destination in node.pairs:
        return use(node, mac, source, destination, is_arp)
    return _search_for(node, mac, source, destination, is_arp)


def _search_for(node: Node, mac: bytes, source: bytes, address: bytes, is_arp: bool) -> None:
    sought = node.sought.get(address)
    if sought is None:
        if _may_seek(node, mac):
            seek(node, address, None, {source: mac})
        elif not is_arp:
            node.do(RefuseWanted(address))
    elif sought.is_missing:
        node.do(AnswerArp(mac, source, address) if is_arp else RefuseWanted(address))
    elif len(sought.askers) < node.options.max_askers:
        sought.askers[source] = mac
    return


def _may_seek(node: Node, mac: bytes) -> bool:
    if len(node.sought) >= node.options.max_sought:
        first = oldest(node.sought)
        if not node.sought[first].is_missing:
            node.count("searches_too_many")
            return False
        end_search(node, first)
    is_in_time = not mac or node.client_seeks.is_within(mac, node.now_s)
    is_in_time = is_in_time and node.own_seeks.is_within(b"", node.now_s)
    node.count("searches" if is_in_time else "searches_too_fast")
    return is_in_time


def seek(node: Node, address: bytes, place: bytes | None, askers: dict[bytes, bytes]) -> None:
    """Search for an address. place: where its client is said to be."""
    end_search(node, address)
    node.sought[address] = Sought(node.now_s, place, askers, [])
    go_on(node, address)
    if len(address) == 16:
        node.timers.set((check_route, address), node.now_s + node.options.check_route_s)


def check_route(node: Node, address: bytes) -> None:
    """Is there a route to an address that we look for?"""
    node.do(CheckRoute(address))
    node.timers.set((check_route, address), node.now_s + node.options.check_route_s)


def on_route_checked(node: Node, address: bytes, has_route: bool) -> None:
    sought = node.sought.get(address)
    if has_route and sought is not None and not sought.is_missing:
        node.count("searches_found")
        end_search(node, address)
        node.do(PassWanted(address))


def end_search(node: Node, address: bytes) -> Sought | None:
    node.timers.cancel((go_on, address))
    node.timers.cancel((check_route, address))
    return node.sought.pop(address, None)


def on_node_appeared(node: Node) -> None:
    """A node can be reached that could not: what nobody had may be there, and need not wait to be sought again."""
    for address in [each for each in node.sought if node.sought[each].is_missing]:
        end_search(node, address)


def go_on(node: Node, address: bytes) -> None:
    """A copy of SEEK is due, or nobody has answered, or what nobody had may be sought again."""
    sought = node.sought[address]
    offsets_s, give_up_s = _times(node.options, address, sought.place)
    pair = node.pairs.get(address)
    is_reached = pair is not None and pair.at is not None and pair.moved_to is None
    if sought.is_missing or is_reached:
        end_search(node, address)
    elif sought.sent < len(offsets_s):
        _send_seek(node, address, sought)
        is_last = sought.sent == len(offsets_s)
        offset_s = give_up_s if is_last else offsets_s[sought.sent]
        node.timers.set((go_on, address), max(sought.started_s + offset_s, node.now_s + 0.001))
    else:
        _give_up(node, address, sought)


def _times(options: Options, address: bytes, place: bytes | None) -> tuple[tuple[float, ...], float]:
    """When copies of SEEK leave, and when nobody has the address."""
    if len(address) == 16:
        return options.seek6_at_s, options.seek6_give_up_s
    return options.seek_at_s if place is None else options.place_at_s, options.seek_give_up_s


def _send_seek(node: Node, address: bytes, sought: Sought) -> None:
    nonce = node.make_nonce()  # each copy's own: a node passes on the first of a nonce alone
    sought.nonces.append(nonce)
    sought.sent += 1
    body = wire.Seek(address if len(address) == 16 else IPV4_MAPPED + address)
    if len(address) == 16:
        node.do(SeekAddress(address))
    if sought.place is None:
        node.send(wire.GROUP, node.encode(body, nonce, node.options.seek_ttl))
    else:
        node.send(sought.place, node.encode(body, nonce))


def _give_up(node: Node, address: bytes, sought: Sought) -> None:
    node.count("searches_in_vain")
    if address in node.pairs:
        remove(node, address)
    sought.is_missing = True
    node.timers.set((go_on, address), node.now_s + node.options.missing_s)
    node.timers.cancel((check_route, address))
    node.do(QueueWanted(address), RefuseWanted(address))
    if len(address) == 16:
        return
    # so that what it sends comes to us, and is answered by an error
    node.do(*(AnswerArp(mac, ipv4, address) for ipv4, mac in sought.askers.items()))


def on_found(node: Node, header: wire.Header, found: wire.Found) -> None:
    """A node says where a client is: with itself, or that it went on."""
    address, place = found.at[12:], node_of(found.at)
    sought, pair = node.sought.get(address), node.pairs.get(address)
    if not node.is_node(header.sender) or not node.is_of_client(found.at):
        node.count("founds_bad")
    elif place != header.sender:
        _follow(node, header.sender, address, place)
    elif sought is not None and found.nonce in sought.nonces and not sought.is_missing:
        end_search(node, address)
        begin(node, place, address, header.nonce, sought.askers)
    elif pair is None or not correct(node, pair, address, place, header.nonce, found.nonce):
        node.count("founds_unexpected")  # the second of two that have this address, or a forgery


def _follow(node: Node, sender: bytes, address: bytes, place: bytes) -> None:
    """Ask the node to which a client is said to have gone; until it answers nothing changes."""
    pair = node.pairs.get(address)
    if pair is None or pair.place != sender:
        return node.count("founds_unexpected")
    node.count("pairs_followed")
    if place == node.address:
        return remove(node, address)
    if pair.moved_to != place or address not in node.sought:
        pair.moved_to = place
        seek(node, address, place, {ipv4: party.mac for ipv4, party in pair.parties.items()})
    return None
