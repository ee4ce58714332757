# SPDX-License-Identifier: ISC
"""What still comes for a client that left goes on to the node that has it now, until babel has told of that. No I/O.

On its way it has another destination: a care-of address, in the new node's own prefix, which that node turns back. Both
make it of INFO's nonce, so no message has it, and nobody else can guess it. Its checksum is the client's address's (as
in RFC 6296 section 3.4), so that packets of all kinds stay as they are.

The route stays as well, for as long: babel tells no node that the client is lost while none knows where it is.

It never goes in circles. Sending on begins with the ACK. Who accepts INFO ends what it sent on itself, and begins again
only when it has let the client go since. So a packet follows the client's walk, in its order.
"""

import struct

from l3roamd_py.core.actions import AddCareOf, RemoveRoute, SendOn
from l3roamd_py.core.client import Answer, Client, Departed
from l3roamd_py.core.ipv6 import add_older
from l3roamd_py.core.node import Node

NO_IPV4 = 0xF000  # 240.0.0.0/4: what begins so in a node's prefix is no client's translated address
RANDOM_BITS = 0x0FFF


def care_of(place: bytes, nonce: int, addresses: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Return addresses with their care-of addresses at a node, no two with the same one.

    place: any address of that node's prefix.
    """
    first = NO_IPV4 | nonce & RANDOM_BITS
    prefix, address_of = place[:12], {}
    for address in addresses:
        last = (sum(struct.unpack("!8H", address)) - sum(struct.unpack("!6H", prefix)) - first) % 0xFFFF
        address_of[prefix + struct.pack("!HH", first, last)] = address
    return tuple([(address, each) for each, address in address_of.items()])


def begin(node: Node, client: Client, gone: Departed, told: list[bytes]) -> None:
    """A client is let go: keep the routes to those of its addresses that INFO tells."""
    options = node.options
    if options.sends_on and options.own is None and gone.is_extended and client.presence.is_routed:
        for address in told:
            if node.sendings_on.is_within(b"", node.now_s):
                node.sent_on[address] = client.mac
                node.timers.set((end, address), node.now_s + options.send_on_s)


def send_on(node: Node, departed: Departed) -> None:
    """Who claimed it has it."""
    addresses = [each for each in departed.addresses if node.sent_on.get(each) == departed.mac]
    if addresses:
        node.count("sent_on")
        node.do(SendOn(care_of(departed.place, departed.info_nonce, addresses), node.options.sent_on_s))


def end(node: Node, address: bytes) -> None:
    """Babel has the new place by now. For a moment more it goes on: babel has to find it from here, too."""
    mac = node.sent_on.pop(address, None)
    if mac is not None:
        node.sent_on[address] = None
        node.do(RemoveRoute(mac, address))
        node.timers.set((end, address), node.now_s + 1 + node.options.sent_on_s - node.options.send_on_s)


def receive(node: Node, client: Client, answer: Answer) -> None:
    """A client is ours now: add the addresses that INFO tells, and turn back what the node that had it sends on."""
    if answer.addresses:
        add_older(node, client, answer.addresses)
    own = [
        each
        for each in answer.addresses
        if node.owner_of.get(each) == client.mac and each not in node.sent_on
    ]
    if own:
        node.do(AddCareOf(care_of(node.address, answer.nonce, own), node.options.care_of_s))
