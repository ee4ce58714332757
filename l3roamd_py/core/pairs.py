# SPDX-License-Identifier: ISC
"""IPv4 between clients of different nodes: a pair in the translator for each client of another node. No I/O.

    A, whose client asks                      X, which has the client
      SEEK to all ────────────────────────────►
      ◄──────────────────────────────── FOUND, to A's management address, with a nonce
      PAIR with that nonce, to X's ───────────►  it came from A: translate A's client
      ◄──────────────────────────────── PAIRED, with PAIR's nonce: it came from X: translate X's client

So each knows that the other one owns the prefix that it names, as for a token. What packets follow waits until the
translator has the pair: PAIRED, what is held, ARP. A pair is asked for again while it is used, and goes when it is not,
when its client comes here, and when the other node says no more. Of two nodes that say to have a client the one that
had it is asked first; if it let go of it, it says where to.
"""

from l3roamd_py.core import wire
from l3roamd_py.core.actions import (
    AddPair,
    AnswerArp,
    PassWanted,
    QueueWanted,
    RefuseWanted,
    RemovePair,
    RestorePair,
    Send,
)
from l3roamd_py.core.client import NEVER, Client, Exchange, Pairing, Party, Served
from l3roamd_py.core.node import Node, node_of
from l3roamd_py.core.token import SECRET_SIZE
from runtime.signing import signer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.core.actions import Action


def cookie_of(node: Node, place: bytes, ipv4: bytes) -> int:
    """The nonce by which a node shows that it got our FOUND: only it hears what is sent to its address."""
    if node.sign is None:
        node.sign = signer(node.options.random(SECRET_SIZE))
    return int.from_bytes(node.sign(place + ipv4)[:4], "big")


def _here(node: Node, ipv4: bytes) -> Client | None:
    client = node.clients.get(node.owner_of.get(ipv4, b""))
    return client if client is not None and client.is_announced and isinstance(client.state, Served) else None


def answer_seek(node: Node, header: wire.Header, ipv4: bytes) -> bool:
    """Tell who looks for a client of ours that it is here; return whether it is."""
    if not header.extended or not node.is_node(header.sender) or _here(node, ipv4) is None:
        return False
    _send_found(node, header.sender, ipv4, header.nonce)
    return True


def _send_found(node: Node, place: bytes, ipv4: bytes, nonce: int) -> None:
    node.send(place, node.encode(wire.Found(node.at(ipv4), nonce), cookie_of(node, place, ipv4)))


# The side that asks


def begin(node: Node, place: bytes, address: bytes, cookie: int, askers: dict[bytes, bytes]) -> None:
    """A node has the client that we looked for."""
    pair = node.pairs.get(address)
    if pair is None:
        if not _has_room(node):
            return node.do(RefuseWanted(address))
        pair = node.pairs[address] = Pairing(
            place, cookie, {}, check_s=node.now_s + node.options.pair_check_s
        )
    pair.place, pair.cookie, pair.used_s = place, cookie, node.now_s
    for ipv4 in askers:
        if ipv4 in node.owner_of:
            pair.parties[ipv4] = Party(askers[ipv4])
    for ipv4 in pair.parties:
        _ask(node, address, pair, ipv4)
    return _schedule(node, address, pair)


def _has_room(node: Node) -> bool:
    if len(node.pairs) < node.options.max_pairs:
        return True
    node.count("pairs_too_many")
    return False


def use(node: Node, mac: bytes, ipv4: bytes, address: bytes, is_arp: bool) -> None:
    """A client of ours has something for the client of another node that we know."""
    pair, party = node.pairs[address], node.pairs[address].parties.get(ipv4)
    pair.used_s = node.now_s
    if party is None:
        if len(pair.parties) < node.options.max_askers:
            party = pair.parties[ipv4] = Party(mac)
            _ask(node, address, pair, ipv4)
            _schedule(node, address, pair)
    elif party.is_agreed and pair.at is not None:
        _when_made(node, pair, AnswerArp(mac, ipv4, address) if is_arp else PassWanted(address, True))


def _ask(node: Node, address: bytes, pair: Pairing, ipv4: bytes) -> None:
    """Send PAIR, until it is answered."""
    party, nonce = pair.parties[ipv4], node.make_nonce()
    body = wire.Pair(node.at(ipv4), pair.place[:12] + address, pair.cookie)
    party.exchange = Exchange(nonce, node.encode(body, nonce), pair.place, node.now_s)
    node.send_copy(party.exchange, node.options.pair_at_s, node.options.pair_give_up_s)


def correct(node: Node, pair: Pairing, address: bytes, place: bytes, cookie: int, nonce: int) -> bool:
    """Take a FOUND that answers PAIR: its node does not know our nonce any more. Return whether it is one."""
    for ipv4, party in pair.parties.items():
        is_answer = party.exchange is not None and party.exchange.nonce == nonce
        if is_answer and pair.place == place and not party.is_corrected:
            pair.cookie, party.is_corrected = cookie, True
            _ask(node, address, pair, ipv4)
            _schedule(node, address, pair)
            return True
    return False


def is_answer(node: Node, paired: wire.Paired) -> bool:
    """Return whether it has the nonce of a PAIR of ours that waits for it."""
    pair = node.pairs.get(paired.at[12:])
    party = None if pair is None else pair.parties.get(paired.peer[12:])
    return party is not None and party.exchange is not None and party.exchange.nonce == paired.nonce


def on_paired(node: Node, header: wire.Header, paired: wire.Paired) -> None:
    address, ipv4 = paired.at[12:], paired.peer[12:]
    if not is_answer(node, paired):
        return node.count("paireds_unexpected")
    pair, party = node.pairs[address], node.pairs[address].parties[ipv4]
    if header.sender != pair.place or paired.at[:12] != pair.place[:12] or node.at(ipv4) != paired.peer:
        return node.count("paireds_unexpected")
    party.exchange, party.is_agreed, party.is_corrected = None, True, False
    pair.moved_to = None
    _install(node, address, pair, paired.at)
    _when_made(node, pair, PassWanted(address, True), AnswerArp(party.mac, ipv4, address))
    return _schedule(node, address, pair)


def _install(node: Node, address: bytes, pair: Pairing, at: bytes) -> None:
    if pair.at != at:
        if pair.at is not None:
            node.do(RemovePair(address, pair.at))
        node.do(AddPair(address, at))
        pair.at, pair.is_made, pair.waiting = at, False, ()


def _when_made(node: Node, pair: Pairing, *actions: "Action") -> None:
    """Do what packets follow: at once, or when the translator has the pair. Whoever is refused then asks again."""
    if pair.is_made:
        node.do(*actions)
    elif len(pair.waiting) < node.options.max_askers:
        pair.waiting += tuple([each for each in actions if each not in pair.waiting])


def on_pair_made(node: Node, address: bytes, at: bytes, is_made: bool) -> None:
    pair = node.pairs.get(address)
    if pair is None or pair.at != at:
        return
    if not is_made:
        node.count("pairs_not_made")
        pair.at = None
        remove(node, address)
    else:
        pair.is_made, waiting, pair.waiting = True, pair.waiting, ()
        node.do(*waiting)


# The side that is asked


def on_pair(node: Node, header: wire.Header, body: wire.Pair) -> None:
    address, ipv4, sender = body.at[12:], body.peer[12:], header.sender
    is_good = node.is_node(sender) and node_of(body.at) == sender != node.address
    if (
        not is_good
        or not node.is_of_client(body.at)
        or node.options.clat is None
        or body.peer != node.at(ipv4)
    ):
        return node.count("pairs_bad")
    client, is_proven = _here(node, ipv4), body.nonce == cookie_of(node, sender, ipv4)
    if not is_proven:
        node.count("pairs_unproven")
        return None if client is None else _send_found(node, sender, ipv4, header.nonce)
    if client is None:
        return _tell_gone(node, sender, ipv4)
    if address in node.owner_of or not _may_pair(node, address, sender):
        return node.count("pairs_refused")
    return _accept(node, header, body, client)


def _may_pair(node: Node, address: bytes, sender: bytes) -> bool:
    """Return whether this node may say to have a client: if another one does so too, that one is asked."""
    pair = node.pairs.get(address)
    if pair is None:
        return _has_room(node)
    if pair.at is None or sender in (pair.place, pair.moved_to):
        return True
    if node.now_s >= pair.asked_s + node.options.pair_give_up_s:
        pair.asked_s = node.now_s
        _renew(node, address, pair)
    return False


def _accept(node: Node, header: wire.Header, body: wire.Pair, client: Client) -> None:
    address, ipv4 = body.at[12:], body.peer[12:]
    pair = node.pairs.get(address)
    if pair is None:
        check_s = node.now_s + node.options.pair_check_s
        pair = node.pairs[address] = Pairing(header.sender, 0, {}, check_s=check_s)
    if pair.place != header.sender:
        pair.place, pair.moved_to = header.sender, None
        for party in pair.parties.values():
            party.exchange, party.is_agreed = None, False
    party = pair.parties.setdefault(ipv4, Party(node.mac_of(client.mac)))
    party.is_agreed, pair.heard_s = True, node.now_s
    _install(node, address, pair, body.at)
    sought = node.sought.get(address)
    answer = Send(header.sender, node.encode(wire.Paired(body.peer, body.at, header.nonce)), node.address)
    _when_made(node, pair, PassWanted(address, True), answer)
    if sought is not None and ipv4 in sought.askers:
        _when_made(node, pair, AnswerArp(sought.askers[ipv4], ipv4, address))
    for other, each in pair.parties.items():  # what the node before has let pass, this one may not know
        if not each.is_agreed and each.exchange is None:
            each.is_corrected = False
            _ask(node, address, pair, other)
    _schedule(node, address, pair)


def _tell_gone(node: Node, sender: bytes, ipv4: bytes) -> None:
    node.count("pairs_not_here")
    for mac in node.departed:
        departed = node.departed[mac]
        if departed.ipv4 == ipv4 and departed.is_extended:
            return _send_moved(node, sender, ipv4, departed.place)
    return None


def _send_moved(node: Node, to: bytes, ipv4: bytes, place: bytes) -> None:
    node.send(to, node.encode(wire.Found(place[:12] + ipv4, 0)))


# While it lasts


def _schedule(node: Node, address: bytes, pair: Pairing) -> None:
    due_s = [party.exchange.next_s for party in pair.parties.values() if party.exchange is not None]
    node.timers.set((on_due, address), min(due_s + [pair.check_s]))


def on_due(node: Node, address: bytes) -> None:
    """A copy of PAIR is due, or its answer, or a look whether the pair is used."""
    pair, options = node.pairs[address], node.options
    for party in pair.parties.values():
        exchange = party.exchange
        if exchange is None or exchange.next_s > node.now_s:
            continue
        if exchange.sent >= len(options.pair_at_s):
            node.count("pairs_unanswered")
            if pair.moved_to is None:
                return remove(node, address)
            exchange.next_s = NEVER  # where it went is being asked
        else:
            node.send_copy(exchange, options.pair_at_s, options.pair_give_up_s)
    if pair.check_s <= node.now_s:
        if node.now_s >= max(pair.used_s, pair.heard_s) + options.pair_idle_s:
            return remove(node, address)
        if pair.used_s >= node.now_s - options.pair_check_s:
            _renew(node, address, pair)
        pair.check_s = node.now_s + options.pair_check_s
        if pair.at is not None and pair.is_made:
            node.do(RestorePair(address, pair.at))
        node.do(QueueWanted(address))  # the next packet says that it is used
    return _schedule(node, address, pair)


def _renew(node: Node, address: bytes, pair: Pairing) -> None:
    for ipv4, party in pair.parties.items():
        if party.exchange is None:
            party.is_corrected = False
            _ask(node, address, pair, ipv4)
    _schedule(node, address, pair)


def remove(node: Node, address: bytes, is_here: bool = False) -> None:
    """Translate it no longer; the next packet for it searches anew. is_here: at a client of ours."""
    pair = node.pairs.pop(address)
    node.timers.cancel((on_due, address))
    if pair.at is not None:
        node.do(RemovePair(address, pair.at))
    node.do(QueueWanted(address), PassWanted(address) if is_here else RefuseWanted(address))


def leave(node: Node, ipv4: bytes, place: bytes | None = None) -> None:
    """A client of ours has this address no longer. place: where it is now, which others are told."""
    if ipv4 in node.passed:
        node.passed.discard(ipv4)
        node.do(QueueWanted(ipv4))
    for address in [each for each in node.pairs if ipv4 in node.pairs[each].parties]:
        pair = node.pairs[address]
        del pair.parties[ipv4]
        if place is not None:
            _send_moved(node, pair.place, ipv4, place)
        if not pair.parties:
            remove(node, address)
