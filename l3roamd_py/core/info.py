# SPDX-License-Identifier: ISC
"""INFO: what a node that lets a client go tells the one that claimed it. Written here, and read here. No I/O."""

from l3roamd_py.core import own_plats, wire
from l3roamd_py.core.client import (
    NEVER,
    NOWHERE,
    Answer,
    Claiming,
    Client,
    Departed,
    Exchange,
    Lease,
    Legacy,
    Roaming,
    Served,
    can_ask,
    former_of,
    has_roam_out,
)
from l3roamd_py.core.ipv6 import add_older
from l3roamd_py.core.node import Node
from l3roamd_py.core.onward import receive
from runtime.ordered import oldest
from xlat464.address import contains, mask
from xlat464.node import NODE_LENGTH, RANGE_LENGTH

IPV4_MAPPED = bytes(10) + b"\xff\xff"


def is_host(address: bytes) -> bool:
    """Return whether a node of l3roamd version 0 may have this address: not a group, loopback or unspecified."""
    return address[0] != 0xFF and address[:15] != bytes(15)


def write_info(node: Node, departed: Departed) -> wire.Info:
    """Return what we know of a client that we let go."""
    lease = departed.lease
    left_s = 0 if lease is None else node.seconds_left(lease)
    own = [] if departed.ipv4 is None else [IPV4_MAPPED + departed.ipv4]
    addresses = tuple(own + told_addresses(departed))
    plat = (node.options.told_plat or NOWHERE) if lease is None else lease.plat
    if not departed.is_extended:  # version 0 loops for ever over a TLV that it does not know
        return wire.Info(departed.mac, addresses, plat, left_s)
    shown = wire.Lease(lease.home, plat, left_s, lease.token) if lease is not None and left_s else None
    own_plat = None if node.options.pref64 is None else departed.own_plat
    return wire.Info(departed.mac, addresses, plat, left_s, shown, departed.claim_nonce, own_plat)


def told_addresses(departed: Departed) -> list[bytes]:
    """Return those IPv6 addresses that INFO has room for, beside the IPv4 one: the newest."""
    return departed.addresses[(departed.ipv4 is not None) - wire.ADDRESSES_MAX :]


def on_info(node: Node, header: wire.Header, info: wire.Info, payload: bytes) -> None:
    """Note the answer to our CLAIM. A duplicate, what is worthless or comes too late is acknowledged, and no more."""
    if info.lease is not None and info.claim_nonce == node.asked_partners.get(header.sender, -1):
        return _remember(node, info.mac, info.lease.lease_s, payload)
    client = node.clients.get(info.mac)
    if client is None:
        node.count("infos_unknown")
        return node.acknowledge(info.mac, header.sender) if _is_outdated(node, header, info) else None
    if not header.extended or node.options.own is not None:
        return _on_legacy_info(node, client, header, info)
    search, claim = client.search, client.search.claim
    if claim is None or info.claim_nonce != claim.nonce or not node.is_node(header.sender):
        return node.count("infos_forged")
    lease, (plat, serial), former = info.lease, search.spent, former_of(client)
    is_spent = lease is not None and lease.plat == plat and 0 < lease.token.serial <= serial
    if former is not None and former.place != header.sender:  # where it went knows best
        is_spent |= _is_older(info, former)
    is_awaited = isinstance(client.state, Claiming) or _is_awaited_late(node, client, claim, info)
    addresses = [address for address in info.addresses if node.is_client_ipv6(address)]
    is_answered = search.answered_by is not None and not _is_better(node, client, info)
    is_elsewhere = info.own_plat not in (None, client.own_plat or node.current)
    if is_answered or is_spent or not is_awaited:
        if is_spent and search.place == header.sender and not isinstance(client.state, Claiming):
            claim.next_s = NEVER  # it had told us of the client beforehand
            if is_elsewhere:
                own_plats.follow(node, client, info.own_plat)
            answer = Answer(header.sender, header.nonce, None, addresses)
            receive(node, client, answer)
            if search.is_contested and isinstance(client.state, Served):
                search.answer = answer  # who had it has let go of it
                node.touch(client.mac)
        return node.acknowledge(info.mac, header.sender)
    search.answered_by, claim.next_s = header.sender, NEVER
    if is_elsewhere:
        own_plats.follow(node, client, info.own_plat)
    search.answer = Answer(header.sender, header.nonce, read_lease(node, client, info), addresses)
    if search.answer.lease is None:
        accept_without_lease(node, client, search.answer)
    return node.touch(client.mac)


def _is_outdated(node: Node, header: wire.Header, info: wire.Info) -> bool:
    """Return whether we had a client with a later token than this INFO has, before its sender knew; it has gone on."""
    gone = node.departed.get(info.mac)
    return gone is not None and node.is_node(header.sender) and _is_older(info, gone)


def _is_older(info: wire.Info, gone: Departed) -> bool:
    told, had = info.lease, gone.lease
    if told is None or had is None or told.plat != had.plat:
        return False
    return 0 < told.token.serial < had.token.serial


def _remember(node: Node, mac: bytes, lease_s: int, payload: bytes) -> None:
    """A node tells of a client that is there, for we asked it to: see partners.py."""
    node.prepared.pop(mac, None)
    if len(node.prepared) >= node.options.max_prepared:
        del node.prepared[oldest(node.prepared)]
    node.prepared[mac] = payload, node.now_s, node.now_s + lease_s


def accept_without_lease(node: Node, client: Client, answer: Answer) -> None:
    """Who had the client has let it go, and we have nothing to give it but its routes."""
    answer.lease = None
    node.acknowledge(client.mac, answer.sender)
    former = former_of(client)
    if former is not None and not can_ask(former):
        client.presence.is_proven = True  # it cannot be asked, and nobody else has it now
    node.route_addresses(client)
    receive(node, client, answer)


def _is_better(node: Node, client: Client, info: wire.Info) -> bool:
    """Return whether who had the client last comes after another node, which did not know its lease any more."""
    search, lease = client.search, client.lease
    if info.lease is None or (lease is not None and not node.is_home(lease)):
        return False
    return search.anew_s < NEVER and search.answered_by != node.address


def _is_awaited_late(node: Node, client: Client, claim: Exchange, info: wire.Info) -> bool:
    """Return whether an INFO is still of use: the client is not another node's roam already, nor long at home."""
    if isinstance(client.state, Roaming):  # we were told beforehand, and that is out of date
        return client.search.is_running and read_lease(node, client, info) is not None
    options = node.options
    late_s = min(claim.started_s + options.claim_late_s, client.search.anew_s + options.anew_late_s)
    return node.now_s <= late_s and isinstance(client.state, Served) and not has_roam_out(client)


def read_lease(node: Node, client: Client, info: wire.Info) -> Lease | None:
    """Return the lease in INFO, if it is one that this domain can have and that the client still wants."""
    lease = info.lease
    if lease is None or not lease.lease_s:
        return None
    in_range = contains(node.options.plat_range, RANGE_LENGTH, lease.plat) or lease.plat == NOWHERE
    if not node.is_of_client(lease.home) or not in_range or mask(lease.plat, NODE_LENGTH) != lease.plat:
        node.count("infos_bad_lease")
        return None
    if client.grant is not None and client.grant.ipv4 != lease.home[12:]:
        return None  # it has another address from our own DHCP server by now
    left_s = min(lease.lease_s, node.options.max_lease_s)
    return Lease(lease.home, lease.plat, node.now_s + left_s, lease.token)


def _on_legacy_info(node: Node, client: Client, header: wire.Header, info: wire.Info) -> None:
    """l3roamd version 0 knows IPv6 addresses only, and nothing proves that it is asked: others may still answer."""
    if not is_host(header.sender):
        return node.count("infos_forged")
    search, options, claim = client.search, node.options, client.search.claim
    before, remind_s = search.legacy, node.now_s + options.legacy_remind_s
    if before is not None and before.reminded and before.sender == header.sender:
        search.legacy = None
    elif isinstance(client.state, Claiming) and claim is not None:
        node.count("infos_legacy")
        grace_s = max(node.now_s, claim.started_s + options.onward_after_s) + options.legacy_grace_s
        if before is not None:  # the first one's: a client waits
            grace_s = min(grace_s, before.grace_s)
        search.legacy = Legacy(header.sender, grace_s, remind_s)
        add_older(node, client, [address for address in info.addresses if node.is_client_ipv6(address)])
        node.route_addresses(client)
        node.touch(client.mac)
    elif before is None and claim is not None and node.now_s <= claim.started_s + options.claim_late_s:
        search.legacy = Legacy(header.sender, NEVER, remind_s)  # all copies before were lost
        node.touch(client.mac)
    return node.acknowledge(info.mac, header.sender)
