# SPDX-License-Identifier: ISC
"""Role A, afterwards: where a client went. INFO is told until it is acknowledged, its CLAIMs are passed on. No I/O.

Its node-client address stays until babel has the new one: old routes end here for a while.
"""

from l3roamd_py.core import info, onward, wire
from l3roamd_py.core.actions import RemoveNodeClient
from l3roamd_py.core.client import Client, Departed, Exchange, former_of
from l3roamd_py.core.node import Node
from l3roamd_py.core.relay import pass_claim_on
from runtime.ordered import oldest


def find_departed(node: Node, mac: bytes) -> Departed | None:
    """Return where a client went. One that seems to be back is there until it is ours again."""
    client = node.clients.get(mac)
    return node.departed.get(mac) if client is None else former_of(client)


def make_departed(node: Node, client: Client, place: bytes, until_s: float) -> Departed:
    addresses = list(client.addresses)
    departed = Departed(
        client.mac, place, False, until_s, client.ipv4, client.lease, addresses, client.presence
    )
    departed.own_plat = client.own_plat or node.current
    return departed


def remember(node: Node, departed: Departed) -> None:
    if len(node.departed) >= node.options.max_departed:
        forget_departed(node, oldest(node.departed))
    node.departed[departed.mac] = departed
    node.timers.set((forget_departed, departed.mac), departed.until_s)


def forget_departed(node: Node, mac: bytes) -> None:
    is_known = node.departed.pop(mac, None) is not None
    if is_known and (end_linger, mac) in node.timers:
        end_linger(node, mac)
    for what in (forget_departed, end_linger, repeat_info, tell_addresses):
        node.timers.cancel((what, mac))
    node.changes += 1


def end_linger(node: Node, mac: bytes) -> None:
    """Babel has the new place by now, if there is one."""
    client = node.clients.get(mac)
    if client is None or not client.is_announced:
        node.do(RemoveNodeClient(node.node_client(mac)))


def tell(node: Node, departed: Departed, claim_nonce: int) -> None:
    """Send INFO, and again until its ACK comes."""
    if departed.claim_nonce != claim_nonce or not departed.is_extended:  # version 0 reads no nonce twice
        departed.info_nonce, departed.claim_nonce = node.make_nonce(), claim_nonce
    payload = node.encode(info.write_info(node, departed), departed.info_nonce)
    departed.info = Exchange(departed.info_nonce, payload, departed.place, node.now_s)
    _send_info(node, departed, departed.info)


def _send_info(node: Node, departed: Departed, told: Exchange) -> None:
    if told.sent and not departed.is_extended:  # version 0 answers a nonce once, and its ACK may be lost
        told.payload = node.encode(info.write_info(node, departed))
    offsets_s = node.options.info_at_s
    node.send_copy(told, offsets_s, 2 * offsets_s[-1])
    node.timers.set((repeat_info, departed.mac), told.next_s)


def repeat_info(node: Node, mac: bytes) -> None:
    departed = find_departed(node, mac)
    if departed is None or departed.info is None:
        return
    if departed.info.sent < len(node.options.info_at_s):
        _send_info(node, departed, departed.info)
    else:
        departed.info = None
        node.count("infos_unanswered")
        if not departed.is_extended and (end_linger, mac) in node.timers:
            node.timers.set((end_linger, mac), node.now_s)  # version 0 has the client by now, heard or not


def on_ack(node: Node, header: wire.Header, ack: wire.Ack) -> None:
    departed = find_departed(node, ack.mac)
    if departed is None or departed.info is None or departed.place != header.sender:
        return node.count("acks_unexpected")
    departed.info, departed.is_acknowledged, departed.seeks = None, True, 0
    tell_addresses(node, ack.mac)
    onward.send_on(node, departed)
    if (end_linger, ack.mac) in node.timers:
        node.timers.set((end_linger, ack.mac), node.now_s + node.options.linger_s)
    node.changes += 1
    return node.timers.cancel((repeat_info, ack.mac))


def tell_addresses(node: Node, mac: bytes) -> None:
    """Have the client's new node ask it for each address that it did not take from INFO; SEEK has no answer."""
    departed, again_s = node.departed.get(mac), node.options.seek_again_s
    if departed is None:
        return  # it is back, or so it seems
    told = info.told_addresses(departed) if departed.is_extended else []
    untold = [address for address in departed.addresses if address not in told]
    for address in untold:
        node.send(departed.place, node.encode(wire.Seek(address)))
    if untold and departed.seeks < len(again_s):
        node.timers.set((tell_addresses, mac), node.now_s + again_s[departed.seeks])
    departed.seeks += 1


def answer_claim(node: Node, departed: Departed, header: wire.Header, payload: bytes) -> None:
    """A claim for a client that went on: its new place did not hear us, or babel has not told of it yet."""
    is_deaf = not departed.is_acknowledged and node.now_s > departed.told_s + node.options.info_deaf_s
    if is_deaf and departed.mac not in node.clients:
        # who claimed it then does not hear: perhaps the client was there for a moment only. If not, the CLAIM finds it
        if header.sender != departed.place:
            pass_claim_on(node, departed, header, payload)
        departed.place, departed.is_extended = header.sender, header.extended
        departed.told_s = node.now_s
    if header.sender != departed.place:
        return pass_claim_on(node, departed, header, payload)
    told = departed.info
    is_told = told is not None and told.destination == departed.place and departed.claim_nonce == header.nonce
    if is_told and told is not None and node.now_s < told.last_s + node.options.claim_resend_s:
        return node.count("claims_too_fast")
    return tell(node, departed, header.nonce)
