# SPDX-License-Identifier: ISC
"""A client's IPv4 address: whose it is, until when and through which PLAT. IPv6 is in ipv6.py. No I/O."""

from l3roamd_py.core.actions import (
    AddNeighbour,
    CloseGate,
    LeavePlat,
    OpenGate,
    ProbeClient,
    RefuseAtGate,
    ReleaseLease,
    RemoveNeighbour,
)
from l3roamd_py.core.client import NEVER, NOWHERE, Absent, Client, Contest, Lease
from l3roamd_py.core.node import Node, describe
from l3roamd_py.core.pairs import leave
from l3roamd_py.core.pairs import remove as remove_pair
from l3roamd_py.core.requests import request_token, start_roam
from l3roamd_py.core.token import NO_TOKEN
from runtime.log import WARNING


def give_lease(node: Node, client: Client, lease: Lease) -> None:
    """Note whose address it is, until when, and send its traffic through its PLAT.

    It is pinned to the client: by ARP it would be whoever's who spoke last, and a newcomer may have the same one.
    """
    assert not node.is_of_other(client.mac, lease.ipv4)
    if client.ipv4 != lease.ipv4:
        if client.ipv4 is not None:
            drop_ipv4(node, client)
        node.do(AddNeighbour(client.mac, lease.ipv4))
    elif client.lease is not None and client.lease.plat != lease.plat:
        _leave_plat(node, client.lease)
    client.ipv4, client.lease = lease.ipv4, lease
    node.owner_of[lease.ipv4] = client.mac
    if lease.ipv4 in node.pairs:  # of another node's client, until now
        remove_pair(node, lease.ipv4, is_here=True)
    node.use_plat(lease)
    node.changes += 1


def open_gate(node: Node, client: Client) -> None:
    if client.ipv4 is not None:
        node.do(OpenGate(client.mac, client.ipv4))


def _leave_plat(node: Node, lease: Lease) -> None:
    if lease.plat != NOWHERE:
        node.do(LeavePlat(node.at(lease.ipv4), lease.plat))


def drop_ipv4(node: Node, client: Client) -> None:
    """The client has no IPv4 address any more."""
    if client.ipv4 is None:
        return
    node.do(CloseGate(client.mac, client.ipv4))
    lease = client.lease
    if lease is not None:
        _leave_plat(node, lease)
        lease.roam = lease.roam_ack = lease.request = None
        lease.renew_s = NEVER
    node.do(RemoveNeighbour(client.mac, client.ipv4))
    node.owner_of.pop(client.ipv4, None)
    leave(node, client.ipv4)
    client.ipv4 = client.lease = None
    if isinstance(client.state, Absent):
        client.state.forget_s = node.now_s + node.options.departed_s
    node.changes += 1
    node.touch(client.mac)


def may_have(node: Node, client: Client, ipv4: bytes, is_granted: bool) -> bool | None:
    """Return whether a client may have an address. None: whoever has it here is asked, come again.

    the resident                                        the newcomer
    was only heard to use it, the newcomer was granted  has it when it uses it: a repeater sends for whom DHCP knows
    is absent, or does not answer for it                has it
    answers for it                                      needs another one
    """
    resident = node.clients.get(node.owner_of.get(ipv4, client.mac))
    if resident is None or resident is client:
        return True
    is_squatter = is_granted and (resident.lease is None or not resident.lease.is_granted)
    if not is_squatter and not isinstance(resident.state, Absent):
        is_used = _was_refused(node, client, ipv4, is_granted) or is_in_use(node, client, ipv4, resident)
        if is_used is not False:
            return False if is_used else None
    drop_ipv4(node, resident)
    node.count("squatters" if is_squatter else "addresses_handed_over")
    why = "was not granted its address" if is_squatter else "does not answer for its address"
    node.log(WARNING, f"{describe(resident.mac, ipv4)} {why}: it is that of {describe(client.mac)} now")
    return True


def _was_refused(node: Node, client: Client, ipv4: bytes, is_granted: bool) -> bool:
    """Return whether the resident answered a moment ago: who makes addresses up must not have it asked all the time."""
    contest = client.contest
    if is_granted or contest is None or contest.ipv4 != ipv4 or not contest.is_refused:
        return False
    return node.now_s < contest.since_s + node.options.contest_again_s


def is_in_use(node: Node, client: Client, wanted: bytes, resident: Client) -> bool | None:
    """Return whether the address of a resident answers, as this client is to have `wanted`. None: not known yet."""
    at_s, contest = node.options.contest_at_s, client.contest
    if contest is None or contest.ipv4 != wanted or node.now_s > contest.since_s + 2 * at_s[-1]:
        contest = client.contest = Contest(wanted, node.now_s)
    contest.is_refused, contest.next_s = resident.presence.answered_s > contest.since_s, NEVER
    due_s = contest.since_s + at_s[contest.questions]
    if contest.is_refused or (node.now_s >= due_s and contest.questions == len(at_s) - 1):
        return contest.is_refused
    if node.now_s >= due_s:
        assert resident.ipv4 is not None
        node.do(ProbeClient(resident.mac, resident.ipv4))
        contest.questions += 1
        due_s = max(contest.since_s + at_s[contest.questions], node.now_s + at_s[1])
    contest.next_s = due_s
    return None


def refuse(node: Node, client: Client, address: bytes) -> None:
    """The address is somebody else's here: the resident loses nothing, the newcomer needs another one."""
    node.count("conflicts")
    resident = node.clients[node.owner_of[address]]
    node.log(
        WARNING,
        f"{describe(client.mac)} comes with the address of {describe(resident.mac, address)}: refused",
    )
    refuse_at_gate(node, client, address)
    owner, _ = node.granted.get(address, (b"", 0.0))
    # of an address that came with a roam our DHCP server knows nothing
    has_roamed = resident.lease is not None and not node.is_home(resident.lease)
    if owner and (owner == node.mac_of(client.mac) or has_roamed):
        del node.granted[address]
        node.do(ReleaseLease(owner, address))


def refuse_at_gate(node: Node, client: Client, address: bytes) -> None:
    """Seldom: whoever makes addresses up must not keep the kernel's rules busy. What is not refused waits in vain."""
    if node.refusals.is_within(node.mac_of(client.mac), node.now_s):
        node.do(RefuseAtGate(client.mac, address))


def adopt(node: Node, client: Client, ipv4: bytes, lease_s: float, is_granted: bool) -> bool:
    """Make us the home of a client's address, on the current PLAT unless it is on one of its own already.

    Return whether that is decided: who has the address may have to be asked.
    """
    may = may_have(node, client, ipv4, is_granted)
    if not may:
        if may is not None:
            refuse(node, client, ipv4)
        return may is not None
    lease = Lease(node.at(ipv4), node.current or NOWHERE, node.now_s + lease_s, NO_TOKEN, is_granted)
    before = client.lease
    if before is not None and before.home == lease.home:
        lease.is_returned, lease.roam, lease.roam_ack = before.is_returned, before.roam, before.roam_ack
        lease.left = before.left
        if before.plat != NOWHERE:
            lease.plat, lease.token = before.plat, before.token
    give_lease(node, client, lease)
    open_gate(node, client)
    request_token(node, lease)
    return True


def adopt_grant(node: Node, client: Client) -> None:
    """Our DHCP server granted an address: a renewal for who has it already, roamed or not."""
    grant, lease = client.grant, client.lease
    assert grant is not None
    if not _is_free_for(node, client, grant.ipv4):
        client.grant = None  # what DHCP leased is known, if packets of this MAC come from there
        return
    if lease is None or lease.ipv4 != grant.ipv4 or node.is_home(lease):
        if not adopt(node, client, grant.ipv4, grant.until_s - node.now_s, is_granted=True):
            return
        client.grant = None
        if client.lease is not None and client.lease.ipv4 == grant.ipv4:
            client.lease.is_returned |= grant.is_renewed
        return
    client.grant = None
    lease.until_s = grant.until_s
    node.use_plat(lease)
    node.changes += 1
    if lease.roam is None:
        start_roam(node, client)


def _is_free_for(node: Node, client: Client, ipv4: bytes) -> bool:
    """Return whether nobody is heard to use an address, or this client was heard to want it as well."""
    resident = node.clients.get(node.owner_of.get(ipv4, client.mac))
    if resident is None or resident is client or isinstance(resident.state, Absent):
        return True
    if resident.lease is None or resident.lease.is_granted:
        return True
    return client.search.heard == ipv4 or (client.contest is not None and client.contest.ipv4 == ipv4)


def use_address(node: Node, client: Client) -> bytes | None:
    """The client uses an address; a packet of it waits at the gate. Return one that it uses beside its own."""
    search, lease = client.search, client.lease
    heard, search.heard = search.heard, None
    assert heard is not None
    if client.ipv4 == heard:
        open_gate(node, client)
        return None
    owner, until_s = node.granted.get(heard, (b"", 0.0))
    is_leased = until_s > node.now_s
    is_granted = is_leased and owner == node.mac_of(client.mac)
    if client.mac in node.behind and not is_leased:
        refuse_foreign(node, client, heard)
        return None
    if client.ipv4 is not None:
        is_new = client.contest is None or client.contest.ipv4 != heard
        is_often = is_new and not node.contests.is_within(client.mac, node.now_s)
        if is_often or _was_refused(node, client, heard, is_granted):
            refuse_foreign(node, client, heard)
            return None
        is_used = is_in_use(node, client, heard, client)
        if is_used is None:
            search.heard = heard
            return None
        if is_used or (lease is not None and lease.is_granted and not is_granted):
            assert client.contest is not None
            client.contest.is_refused = True  # if that one is refused, not at once again
            return heard
    lease_s = until_s - node.now_s if is_granted else node.options.unleased_s
    if not adopt(node, client, heard, lease_s, is_granted):
        search.heard = heard
    return None


def refuse_foreign(node: Node, client: Client, address: bytes) -> None:
    node.count("foreign_addresses")
    refuse_at_gate(node, client, address)


def ask_for_address(node: Node, client: Client) -> None:
    """A lease is over: does the client use its address still?"""
    assert client.ipv4 is not None
    is_in_use(node, client, client.ipv4, client)


def extend_lease(node: Node, client: Client) -> None:
    """A lease is over that was only heard, or the client answers for it: it may use the address on."""
    assert client.ipv4 is not None
    adopt(node, client, client.ipv4, node.options.unleased_s, is_granted=False)


def start_afresh(node: Node, client: Client, delay_s: float = 0.0) -> None:
    """What the client had cannot be kept: new connections shall work, through the current PLAT."""
    old = client.lease
    if old is None:
        return
    until_s = max(old.until_s, node.now_s + 1)
    lease = Lease(node.at(old.ipv4), node.current or NOWHERE, until_s, NO_TOKEN, old.is_granted)
    lease.left = old.left or client.search.answered_by
    give_lease(node, client, lease)
    open_gate(node, client)
    request_token(node, lease, delay_s)


def on_place_checked(node: Node, mac: bytes, place: bytes, is_live: bool) -> None:
    """A client has an address that is mapped to another node, as somebody roamed there with it.

    the address is    that node can be reached    it cannot
    granted           the mapping stays           it is brought home
    only heard        the newcomer is refused     the mapping stays
    Where it stays, what the client begins is answered here, and the mapping ends with the other's lease.
    """
    client = node.clients.get(mac)
    lease = None if client is None else client.lease
    if client is None or lease is None or lease.ipv4 != place[12:] or not node.is_home(lease):
        return
    node.count("homes_away")
    node.touch(mac)
    if lease.is_granted and not is_live:
        lease.is_returned = True
        request_token(node, lease)
    elif not lease.is_granted and is_live:
        drop_ipv4(node, client)
        sentence = f"{describe(mac, place[12:])} was not granted its address, which roams: refused"
        node.log(WARNING, sentence)
        refuse_at_gate(node, client, place[12:])
    else:
        lease.renew_s = node.now_s + node.options.token_again_s
