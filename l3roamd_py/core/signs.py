# SPDX-License-Identifier: ISC
"""Signs of a client: what the bridge, its answers and our DHCP server say of it. They are noted, and judged later.

Whoever can send frames can make up MACs, and each client costs memory and a CLAIM. So there is a bound for all clients
together, and one for each port of the bridge, see ports.py. Nothing is kept of who has to wait: each sign of it tries
again, and is answered by a question. Who answers that, or gets a lease of our DHCP server, comes before all others.
"""

from l3roamd_py.core import grants, own_plats, partners
from l3roamd_py.core.actions import ProbeClient, SolicitClient
from l3roamd_py.core.client import (
    AT_ONCE,
    NEVER,
    Absent,
    Claiming,
    Client,
    Restored,
    Roaming,
    Served,
    can_ask,
    former_of,
    is_newcomer,
    make_client,
)
from l3roamd_py.core.departed import forget_departed
from l3roamd_py.core.info import IPV4_MAPPED
from l3roamd_py.core.ipv6 import add_address, hear_address, remove_address, retry_silent, verify_address
from l3roamd_py.core.node import Node, is_device, is_usable
from l3roamd_py.core.requests import expect
from l3roamd_py.core.search import claim
from l3roamd_py.core.service import forget, note_answer_time
from runtime.log import WARNING


def see(node: Node, mac: bytes, address: bytes | None = None, is_proof: bool = False) -> Client | None:
    """A client is here; address is what it uses, if that is known. None: it is not taken in.

    is_proof: more than a frame with its MAC says so.
    """
    if not is_device(mac) or not node.options.has_clients:
        node.count("not_clients")
        return None
    if address is not None and len(address) == 4 and node.options.clat is None:
        address = None
    mac = node.name_of(mac, address)
    client = node.clients.get(mac) or _admit(node, mac, address, is_proof)
    if client is None:
        return None
    node.ports.add(mac, node.port_of(node.mac_of(mac)))
    state = client.state
    _note_sign(node, client, is_proof)
    if isinstance(state, Restored):
        # its own word is proof, the bridge's is a reason to ask
        state.is_here |= address is not None and address == client.ipv4
        state.next_s = AT_ONCE
    elif address is not None and len(address) == 4 and is_usable(address):
        _note_address(node, client, address)
    elif address is None and client.rival is not None:
        # a packet may have waited at the gate, but this is news
        client.rival.is_refuted = client.rival.questions > 0
    if address is not None and len(address) == 16:
        hear_address(node, client, address)
    if client.presence.silent:
        retry_silent(node, client)
    if not _is_undisputed(client):
        node.touch(mac)
    return client


def _is_undisputed(client: Client) -> bool:
    """Return whether a sign of a client is nothing new, and moves deadlines alone: most are of such."""
    if not client.is_announced or client.rival is not None or not isinstance(client.state, Served):
        return False
    search = client.search
    return (
        not search.is_contested
        and search.heard is None
        and search.legacy is None
        and client.presence.swept_s == NEVER
    )


def _is_all_known(client: Client) -> bool:
    """Return whether nothing but the time is new in a sign of a client that names an address of its own.

    The kernel tells of all that answer it, again and again. If its gate is not open, a packet of the client waits.
    """
    presence = client.presence
    return presence.is_proven and presence.is_routed and not presence.silent and _is_undisputed(client)


def _note_sign(node: Node, client: Client, is_proof: bool) -> None:
    presence, claim, former = client.presence, client.search.claim, former_of(client)
    if former is None and is_proof:
        _note_proof(node, client)
    elif former is not None and not can_ask(former) and claim is not None and node.now_s > claim.started_s:
        presence.is_proven = True
    _note_presence(node, client, is_newcomer(client))


def _note_presence(node: Node, client: Client, is_asked_on: bool) -> None:
    """is_asked_on: that it sends does not say that it is here."""
    presence = client.presence
    presence.seen_s, presence.is_leaving = node.now_s, False
    if not is_asked_on:
        presence.unanswered = 0
        if presence.check_s < NEVER:
            presence.check_s = node.now_s + node.options.idle_s
    if isinstance(client.state, Absent):
        client.state.is_back = True


def _note_proof(node: Node, client: Client) -> None:
    """It is here: it has answered, got a lease of our DHCP server, or the driver knows it."""
    client.presence.is_proven = True
    node.ports.note_proof(client.mac)
    if not own_plats.is_undecided(node, client):
        node.route_addresses(client)


def _note_address(node: Node, client: Client, ipv4: bytes) -> None:
    """The client uses this address; a packet of it waits at the gate."""
    if isinstance(client.state, Roaming):
        return
    claim = client.search.claim
    client.search.heard = ipv4
    expect(node, client, ipv4)
    if former_of(client) is not None:
        client.presence.is_proven = claim is None or node.now_s > claim.started_s


def on_answer(node: Node, mac: bytes, address: bytes) -> None:
    """A client answered us: it is here, even if that came too late to keep it, or if we did not take it in."""
    mac = node.name_of(mac, address)
    departed = node.departed.get(mac)
    if departed is None and mac not in node.clients:
        see(node, mac, address, is_proof=True)
        return
    if departed is not None and node.now_s <= departed.told_s + node.options.regret_s:
        node.count("departures_regretted")
        note_answer_time(node, departed.presence)
        if see(node, mac, departed.ipv4) is None:
            return
    client = node.clients.get(mac)
    if client is None:
        return
    note_answer_time(node, client.presence)
    _note_presence(node, client, False)
    _note_proof(node, client)
    client.presence.answered_s = node.now_s
    verification = node.verifications.get(address)
    if verification is not None and node.owner_of[address] == mac:
        verification.is_answered = True
    if client.presence.silent:
        if any(each == address for each, _ in client.presence.silent):
            add_address(node, client, address)
        retry_silent(node, client)
    if client.contest is not None:
        client.contest.next_s = NEVER  # it may have been about an address of its own
    if client.rival is not None:
        client.rival.is_refuted = client.rival.questions > 0
    if isinstance(client.state, Restored):
        client.state.is_here = True
    node.touch(mac)


def on_gone(node: Node, mac: bytes) -> None:
    """The kernel says that a client left; a station may only have changed its band."""
    for name in [name for name, place in node.behind.items() if place == mac]:
        on_gone(node, name)
    client = node.clients.get(mac)
    if client is None or isinstance(client.state, Restored):
        return
    presence = client.presence
    if isinstance(client.state, Claiming):
        presence.is_proven = False  # whoever answers our CLAIM has let it go: somebody must know its lease
    elif not isinstance(client.state, Absent):
        presence.unanswered, presence.check_s = 0, AT_ONCE
    elif can_ask(client):
        return
    presence.is_leaving = True
    node.touch(mac)


def on_address(node: Node, mac: bytes, address: bytes, is_sign: bool) -> None:
    """A client uses an IPv6 address. C's scripts name its IPv4 address in IPv6 form."""
    client = node.clients.get(mac)
    if client is not None and address in client.addresses and (not is_sign or _is_all_known(client)):
        if is_sign:
            _note_presence(node, client, False)
    elif address[:12] == IPV4_MAPPED:
        see(node, mac, address[12:])
    elif node.is_client_ipv6(address):
        see(node, mac, address, is_proof=is_sign)


def on_address_gone(node: Node, mac: bytes, address: bytes, is_silent: bool) -> None:
    """A client does not use an IPv6 address any more. is_silent: the kernel had no answer; we ask ourselves."""
    client = node.clients.get(mac)
    if client is None or address not in client.addresses:
        return
    if not is_silent:
        remove_address(node, client, address)
        node.touch(mac)
    elif address not in node.verifications:
        verify_address(node, address)
        if client.ipv4 is not None and isinstance(
            client.state, Served
        ):  # is it here? another node may have it
            client.presence.unanswered, client.presence.check_s = 0, AT_ONCE
            node.touch(mac)


def on_grant(node: Node, mac: bytes, ipv4: bytes, lease_s: int, is_seen: bool, is_renewed: bool) -> None:
    """Our DHCP server leased an address; is_seen: to a client that is here."""
    grant = grants.note_grant(node, mac, ipv4, lease_s)
    mac = node.name_of(mac, ipv4)
    client = see(node, mac, is_proof=True) if is_seen and grant is not None else node.clients.get(mac)
    if client is None:
        client = _roamed_owner(node, ipv4)
    if grant is None or client is None:
        return
    grant.is_renewed = is_renewed
    is_served = isinstance(client.state, (Served, Absent))
    lease = client.lease
    is_its = is_served and (lease is None or lease.ipv4 == ipv4)
    if is_seen:
        _note_proof(node, client)
    if lease is not None and lease.ipv4 != ipv4 and _has_grant(node, mac, lease.ipv4):
        return  # it has both: its packets tell which it uses
    if is_seen or is_its:
        client.grant = grant
        node.touch(mac)


def _roamed_owner(node: Node, ipv4: bytes) -> Client | None:
    """Return who came with an address and uses it: a lease that another MAC renews is renewed for it, too."""
    client = node.clients.get(node.owner_of.get(ipv4, b""))
    has_roamed = client is not None and client.lease is not None and not node.is_home(client.lease)
    return client if has_roamed else None


def _has_grant(node: Node, mac: bytes, ipv4: bytes) -> bool:
    owner, until_s = node.granted.get(ipv4, (b"", 0.0))
    return owner == mac and until_s > node.now_s


def see_beside(node: Node, client: Client, ipv4: bytes) -> None:
    """An address is used beside the one that a client has: it is that of a client of its own, behind the same MAC."""
    see(node, node.add_beside(node.mac_of(client.mac), ipv4), ipv4)


# Who is taken in


def _admit(node: Node, mac: bytes, address: bytes | None, is_proof: bool) -> Client | None:
    """Take a client in that has just come. is_proof: it is here for certain. None: there is no room for it."""
    options, port = node.options, node.port_of(node.mac_of(mac))
    if len(node.clients) >= options.max_clients or len(node.claiming) >= options.max_claims:
        node.count("clients_too_many")
        return None
    if not node.ports.has_room(port, is_proof) and not (is_proof and _make_room(node, port)):
        _refuse_room(node, port, is_proof)
        if address is not None and not is_proof:
            _ask_stranger(node, mac, address)
        return None
    client = make_client(mac, Claiming(node.departed.pop(mac, None)), node.now_s)
    node.timers.cancel((forget_departed, mac))
    node.clients[mac] = client
    node.ports.add(mac, port)
    node.count("arrivals")
    told = partners.use(node, client) if node.prepared else None
    claim(node, client)
    client.search.answer = told
    return client


def _make_room(node: Node, port: str) -> bool:
    """Return whether one that has not proven to be here, or is away, could give way."""
    least = node.ports.least(port)
    if least is None:
        return False
    node.count("clients_displaced")
    forget(node, node.clients[least])
    return True


def _refuse_room(node: Node, port: str, is_proof: bool) -> None:
    node.count("clients_too_many_at_port" if is_proof else "newcomers_too_many_at_port")
    if node.ports.may_tell(port, node.now_s):
        most = node.ports.max_clients if is_proof else node.ports.max_newcomers
        kind = "clients" if is_proof else "clients that have not answered yet"
        sentence = f"{port or 'a port'} has {most} {kind}, as many as it may: others wait"
        node.log(WARNING, sentence)


def _ask_stranger(node: Node, mac: bytes, address: bytes) -> None:
    """Ask somebody who waits whether it is here: its answer is proof."""
    is_good = is_usable(address) if len(address) == 4 else node.is_client_ipv6(address)
    if is_good and node.ports.may_ask(node.port_of(mac), node.now_s):
        node.do(ProbeClient(mac, address) if len(address) == 4 else SolicitClient(mac, address))
