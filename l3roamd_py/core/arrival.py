# SPDX-License-Identifier: ISC
"""Role B: a client came to our bridge. No I/O.

ClientSeen, unknown MAC   CLAIM, the gate stays closed
INFO with its lease       neighbour, PLAT set, ROAM: in this order, for packets from the PLAT may come before its
                          answer does; then what the gate need not wait for: ACK, node-client address, IPv6 routes
ROAM_ACK                  the gate opens (see roaming)
INFO without a lease, no answer, no route to anybody and no neighbour who answers: the client is new, the gate opens
"""

from l3roamd_py.core import presence, wire
from l3roamd_py.core.actions import CloseGate, OpenGate
from l3roamd_py.core.admitting import arrive
from l3roamd_py.core.belief import ask_again, prove
from l3roamd_py.core.claiming import ask, ask_neighbours, ask_nodes, known_place, press, send_claim
from l3roamd_py.core.client import Client, Exchange, Lease, State
from l3roamd_py.core.departure import is_host, is_node, refuse_claim
from l3roamd_py.core.elsewhere import find, keep
from l3roamd_py.core.leasing import adopt, request_token
from l3roamd_py.core.node import Node, is_device, is_usable
from l3roamd_py.core.presence import doubt, look_again, seek_proof
from l3roamd_py.core.roaming import roam, settle
from l3roamd_py.core.serving import (
    add_address,
    confirm,
    forget,
    give_lease,
    hold,
    is_newcomer,
    learn,
    make_way,
    open_gate,
    refuse,
    refuse_at_gate,
    take,
)
from xlat464.address import contains, mask
from xlat464.node import NODE_LENGTH, RANGE_LENGTH


def see(node: Node, mac: bytes, ipv4: bytes | None = None, is_proof: bool = False) -> Client | None:
    """A client is here; ipv4 is what it uses, if the gate has a packet of it. None: it is not taken in.

    is_proof: more than a frame with its MAC says so.
    """
    if not is_device(mac) or node.options.clat is None:
        node.count("not_clients")
        return None
    client = node.clients.get(mac) or arrive(node, mac, ipv4, is_proof)
    if client is None:
        return None
    node.ports.add(mac, node.port_of(mac))
    look_again(node, client)
    if client.state is State.CLAIMING:
        press(node, client)
        has_unlearnt = client.former is not None and client.former.ipv4 is None
        client.is_verified |= (
            has_unlearnt and client.claim is not None and node.now_s > client.claim.started_s
        )
    if client.former is None and (is_proof or (client.probes and client.ipv4 is None)):
        confirm(node, client)  # the latter is the answer of one that cannot be asked by ARP
    client.seen_s, client.is_leaving = node.now_s, False
    client.probes = client.probes if is_newcomer(client) else 0
    if client.believed_until_s is not None:
        _see_believed(node, client, ipv4)
        return client
    if client.ipv4 is None:
        keep(node, client)  # the answer of one that cannot be asked by ARP
    if client.state is State.ABSENT:
        find(node, client)
        node.timers.set(("idle", mac), node.now_s + node.options.idle_s)
    if ipv4 is not None and is_usable(ipv4):
        _hear(node, client, ipv4)
    elif ipv4 is None:
        refuse_claim(node, client)  # a packet may have waited at the gate, but this is news
    seek_proof(node, client)
    return client


def _see_believed(node: Node, client: Client, ipv4: bytes | None) -> None:
    """A sign of a client that a restart restored: its own word is proof, the bridge's is a reason to ask.

    One without IPv4 was forgotten by the bridge when it was asked, so that its answer is a sign.
    """
    if ipv4 == client.ipv4:
        prove(node, client)
    else:
        ask_again(node, client)


def on_answer(node: Node, mac: bytes, ipv4: bytes) -> None:
    """A client answered our ARP: it is here, even if that came too late to keep it, or if we did not take it in."""
    departed = node.departed.get(mac)
    if departed is None and mac not in node.clients:
        see(node, mac, ipv4, is_proof=True)
        return
    if departed is not None and node.now_s <= departed.told_s + node.options.regret_s:
        node.count("departures_regretted")
        learn(node, departed)
        if see(node, mac, departed.ipv4) is None:
            return
    presence.on_answer(node, mac)
    client = node.clients.get(mac)
    if client is not None and client.believed_until_s is not None:
        prove(node, client)


def _hear(node: Node, client: Client, ipv4: bytes) -> None:
    """The client uses this address; a packet of it waits at the gate."""
    if client.state is State.CLAIMING:
        client.heard = ipv4
        if client.former is not None:
            client.is_verified = client.claim is None or node.now_s > client.claim.started_s
    elif client.state is State.SERVED:
        lease = client.lease
        if client.ipv4 == ipv4:
            node.do(OpenGate(client.mac, ipv4))
        elif lease is not None and lease.is_granted:
            node.count("foreign_addresses")
            refuse_at_gate(node, client, ipv4)
        elif lease is None and ("claim", client.mac) in node.timers:
            client.heard = ipv4  # whoever has it may answer now that it is here
        elif (
            lease is None or node.now_s > lease.until_s - node.options.unleased_s + 1
        ):  # once a second at most
            _adopt_heard(node, client, ipv4)


def _adopt_heard(node: Node, client: Client, ipv4: bytes) -> None:
    """Give the client the address that it uses, with what is left of its lease if our DHCP server gave it."""
    granted, until_s = node.granted.get(client.mac, (b"", 0.0))
    if granted == ipv4 and until_s > node.now_s:
        return adopt(node, client, ipv4, until_s - node.now_s, is_granted=True)
    return adopt(node, client, ipv4, node.options.unleased_s, is_granted=False)


def on_info(node: Node, header: wire.Header, info: wire.Info) -> None:
    client = node.clients.get(info.mac)
    if client is None:
        return node.count("infos_unknown")
    if not header.extended:
        return _on_legacy_info(node, client, header, info)
    if client.claim is None or info.claim_nonce != client.claim.nonce or not is_node(node, header.sender):
        return node.count("infos_forged")
    is_spent = info.lease is not None and 0 < info.lease.token.serial <= client.spent_serial
    if client.answered_by is not None or is_spent or not _may_take(node, client):
        return _acknowledge(node, client, header.sender)  # a duplicate, worthless, or too late
    client.answered_by = header.sender
    node.timers.cancel(("claim", client.mac))
    _take_answer(node, client, info, header.sender)
    if node.clients.get(client.mac) is client:  # it may have been claimed or forgotten at once
        _add_addresses(node, client, info)
    return None


def _take_answer(node: Node, client: Client, info: wire.Info, sender: bytes) -> None:
    """Make the client ours as INFO has it."""
    lease = _read_lease(node, client, info)
    if lease is not None and not make_way(node, client.mac, lease.ipv4, lease.token.serial > 0):
        refuse(node, client, lease.ipv4)
        client.heard = lease = None
        client.is_verified = True  # who had it let it go, and it has no address that we could ask it by
    if lease is not None:
        return _take_over(node, client, lease, sender)
    _acknowledge(node, client, sender)
    former = client.former
    if former is not None and former.ipv4 is None and not former.addresses:
        client.is_verified = True  # it cannot be asked, and nobody else has it now
    return settle_alone(node, client) if client.state is State.CLAIMING else hold(node, client)


def _may_take(node: Node, client: Client) -> bool:
    """Return whether an INFO is still of use: the client is not another node's roam already, nor long at home."""
    assert client.claim is not None
    if client.state is State.CLAIMING:
        return True
    is_late = node.now_s > min(
        client.claim.started_s + node.options.claim_late_s, client.anew_s + node.options.anew_late_s
    )
    return not is_late and client.state is State.SERVED and client.roam is None


def _read_lease(node: Node, client: Client, info: wire.Info) -> Lease | None:
    """Return the lease in INFO, if it is one that this domain can have and that the client still wants."""
    lease = info.lease
    if lease is None or not lease.lease_s:
        return None
    in_range = contains(node.options.plat_range, RANGE_LENGTH, lease.plat) or lease.plat == bytes(16)
    if not node.is_of_client(lease.home) or not in_range or mask(lease.plat, NODE_LENGTH) != lease.plat:
        node.count("infos_bad_lease")
        return None
    if client.granted is not None and client.granted[0] != lease.home[12:]:
        return None  # it has another address from our own DHCP server by now
    left_s = min(lease.lease_s, node.options.max_lease_s)
    return Lease(lease.home, lease.plat, node.now_s + left_s, lease.token)


def _take_over(node: Node, client: Client, lease: Lease, sender: bytes) -> None:
    if client.ipv4 is not None:
        node.do(CloseGate(client.mac, client.ipv4))  # late: it began anew already
    give_lease(node, client, lease)
    client.is_doubted = False
    is_unproven = client.former is not None and not client.is_verified
    take(node, client, is_found=False)
    client.state = State.ROAMING
    client.heard = None
    if client.is_leaving or is_unproven:  # is it here?
        node.timers.set(("idle", client.mac), node.now_s + node.options.idle_probe_s)
        client.seen_s = node.now_s - node.options.idle_s
    roam(node, client)
    _acknowledge(node, client, sender)
    if node.clients.get(client.mac) is client:
        hold(node, client)


def _acknowledge(node: Node, client: Client, sender: bytes) -> None:
    node.send(sender, node.encode(wire.Ack(client.mac)))


def _add_addresses(node: Node, client: Client, info: wire.Info) -> None:
    for address in info.addresses:
        if node.is_client_ipv6(address):
            add_address(node, client, address)


def _on_legacy_info(node: Node, client: Client, header: wire.Header, info: wire.Info) -> None:
    """l3roamd version 0 knows IPv6 addresses only, and nothing proves that it is asked: others may still answer."""
    if not is_host(header.sender):
        return node.count("infos_forged")
    if client.state is State.CLAIMING and client.claim is not None:
        node.count("infos_legacy")
        _add_addresses(node, client, info)
        client.legacy = header.sender
        if ("grace", client.mac) not in node.timers:  # the first one's: a client waits
            from_s = max(node.now_s, client.claim.started_s + node.options.onward_after_s)
            node.timers.set(("grace", client.mac), from_s + node.options.legacy_grace_s)
        node.timers.set(("remind", client.mac), node.now_s + node.options.legacy_remind_s)
    return _acknowledge(node, client, header.sender)


def on_remind_timer(node: Node, mac: bytes) -> None:
    """A busy l3roamd reads of its kernel that the client is there after it let it go, and believes it for minutes."""
    client = node.clients.get(mac)
    if client is not None and client.legacy is not None and client.asked is None:
        node.send(client.legacy, node.encode(wire.Claim(mac)))
        client.legacy = None


def on_claim_timer(node: Node, mac: bytes) -> None:
    client = node.clients.get(mac)
    if client is None or client.claim is None:
        return None
    node.make_up(client.claim, node.options.claim_at_s)
    is_new = client.is_unrouted and node.now_s >= client.claim.started_s + node.options.unrouted_give_up_s
    if is_new and client.state is State.CLAIMING and ("grace", mac) not in node.timers:
        return settle_alone(node, client)
    if client.claim.sent < len(node.options.claim_at_s):
        return send_claim(node, client)
    return _give_up(node, client, client.claim)


def on_grace_timer(node: Node, mac: bytes) -> None:
    """Nobody but nodes of version 0 has answered."""
    client = node.clients.get(mac)
    if client is None or client.claim is None or client.state is not State.CLAIMING:
        return None
    return settle_alone(node, client) if client.is_unrouted else _give_up(node, client, client.claim)


def _give_up(node: Node, client: Client, claim: Exchange) -> None:
    node.count("claims_unanswered")
    if client.state is not State.CLAIMING:
        heard, client.heard = client.heard, None
        if heard is not None and client.lease is None:
            _adopt_heard(node, client, heard)
        # hold it if it is here still, while whom babel knows stays silent
        return hold(node, client) if client.seen_s >= claim.last_s else doubt(node, client)
    client.is_doubted = True
    settle_alone(node, client)
    return doubt(node, client)


def on_unreachable(node: Node, mac: bytes, is_retracted: bool) -> None:
    """Babel knows no node that serves this client; a neighbour may."""
    client = node.clients.get(mac)
    if client is None or known_place(client) is not None or ("claim", mac) not in node.timers:
        return
    if client.state is State.CLAIMING:
        client.is_unrouted = client.place is None and not is_retracted
        ask_neighbours(node, client, node.options.group_ttl)
        if client.is_unrouted and client.claim is not None and client.claim.sent == 1:
            ask_nodes(
                node, client, wire.FOR_ITS_NODE
            )  # babel may not have told yet who has it since a moment
    elif client.place is None and not is_retracted:
        node.timers.cancel(("claim", mac))
        hold(node, client)


def _is_passing(node: Node, client: Client) -> bool:
    """Return whether a client was heard when it came, and never since: it may be back where its CLAIM was refused.

    Let in, it would begin anew when it comes again, before that node has let it go.
    """
    claim, options = client.claim, node.options
    if claim is None or client.heard is None or node.now_s < claim.started_s + options.claim_give_up_s:
        return False
    moment_s = options.claim_at_s[-1] if client.claims == 1 else 0.0
    return client.seen_s < claim.started_s + moment_s


def settle_alone(node: Node, client: Client) -> None:
    """Nobody had the client, or nobody tells: it is ours, with the lease that we know of, if any."""
    is_unproven = client.former is not None and not client.is_verified
    # babel knows a node that has it, which stays silent: it may have been there again when that node looked
    is_passing = client.is_doubted and _is_passing(node, client)
    is_contested = client.is_doubted and client.granted is None and (client.heard is None or is_passing)
    may_ask = (
        client.answered_by is None and not client.is_leaving and client.claims < node.options.arrival_rounds
    )
    if may_ask and (is_unproven or is_contested):
        return ask(node, client)  # no other sign of an idle client may come
    if client.is_leaving or is_unproven or (is_contested and is_passing):
        node.count("arrivals_unproven")
        return forget(node, client)
    lease = client.lease
    if lease is None and client.former is not None and client.answered_by is None:
        lease = client.former.lease
    client.anew_s = node.now_s
    heard, client.heard = client.heard, None
    for address in () if client.former is None else client.former.addresses:
        add_address(node, client, address)
    # nobody else had it
    is_new = client.former is None and client.answered_by is None
    take(node, client, is_found=not is_new or client.is_verified or client.granted is not None)
    is_left = lease is not None and lease.until_s > node.now_s
    if lease is not None and is_left and make_way(node, client.mac, lease.ipv4, lease.is_granted):
        _resume(node, client, lease)
    elif heard is not None and client.granted is None:
        _adopt_heard(node, client, heard)
    settle(node, client)
    return seek_proof(node, client) if node.clients.get(client.mac) is client else None


def _resume(node: Node, client: Client, lease: Lease) -> None:
    """Go on with a lease that we held before."""
    lease.is_returned = True
    give_lease(node, client, lease)
    if node.is_home(lease):
        open_gate(node, client)
        request_token(node, client)
    else:
        client.state = State.ROAMING
        roam(node, client)
