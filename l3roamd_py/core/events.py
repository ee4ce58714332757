# SPDX-License-Identifier: ISC
"""What happens to a node: the events that go into the core. No I/O.

A MAC is 6 bytes, an IPv4 address 4, an IPv6 address 16; a prefix is the first address of a /96, 16 bytes.
"""

from runtime.record import record


class Event:
    """Something that has happened. Each kind below is a record."""

    __slots__ = ()


@record("mac address is_proof")
class ClientSeen(Event):
    """A client is on our bridge: an FDB or nl80211 event, its ARP, or a packet at the gate, which has its address.

    address: IPv4 or IPv6.

    is_proof: it is, for certain: a driver knows it, or it has answered. A frame with its MAC is none.
    """

    mac: bytes
    address: bytes | None = None
    is_proof: bool = False


@record("mac")
class ClientGone(Event):
    """The kernel says that a client left: a station disassociated, an FDB entry aged."""

    mac: bytes


@record("mac address")
class ArpAnswered(Event):
    """A client answered our ProbeClient, or SolicitClient: it is here. address: the one that it was asked for."""

    mac: bytes
    address: bytes


@record("mac address is_sign")
class AddressSeen(Event):
    """A client uses an IPv6 address of ours: the neighbour table, or the socket's add_address.

    is_sign: it has said so just now. Otherwise it is a sign of the client only if we did not know.
    """

    mac: bytes
    address: bytes
    is_sign: bool = True


@record("mac address is_silent")
class AddressGone(Event):
    """A client does not use an IPv6 address any more. is_silent: the kernel got no answer, which it may have missed."""

    mac: bytes
    address: bytes
    is_silent: bool = False


@record("mac ipv4 lease_s is_seen is_renewed")
class LeaseGranted(Event):
    """Our DHCP server granted or renewed a lease.

    is_seen: it did so now, so the client is here. A lease from the lease file says nothing of where it is.
    is_renewed: the server had not let go of the lease, so nobody else can have had the address meanwhile.
    """

    mac: bytes
    ipv4: bytes
    lease_s: int
    is_seen: bool = True
    is_renewed: bool = False


@record("mac ipv4")
class LeaseEnded(Event):
    """Our DHCP server let a lease go: expired, released."""

    mac: bytes
    ipv4: bytes


@record("source destination payload")
class Datagram(Event):
    """A UDP datagram on port 5523."""

    source: bytes
    destination: bytes
    payload: bytes


@record("mac is_retracted")
class ClaimUnreachable(Event):
    """No route leads to the node-client address that a CLAIM was for, so it was not sent.

    is_retracted: babel had one until a moment ago; otherwise nobody serves this client, as far as babel knows.
    """

    mac: bytes
    is_retracted: bool = False


@record("mac")
class FoundElsewhere(Event):
    """A host route leads to the node-client address of a CheckElsewhere: another node serves the client."""

    mac: bytes


@record("mac place is_live")
class PlaceChecked(Event):
    """What a CheckPlace found. is_live: babel knows a way to that node."""

    mac: bytes
    place: bytes
    is_live: bool


@record()
class NodeAppeared(Event):
    """A clatnode can be reached that could not for a while, or never before."""


@record("prefix lost")
class PlatChosen(Event):
    """prefixd says set_platprefix. lost: the one before, if it cannot be used any more."""

    prefix: bytes
    lost: bytes | None = None


@record("prefix")
class PlatLost(Event):
    """prefixd says del_platprefix: this PLAT cannot be reached any more."""

    prefix: bytes


@record("usable lost")
class PlatsTold(Event):
    """prefixd says plats: which can be used, and which cannot although there is a route. Of others the route tells."""

    usable: frozenset[bytes]
    lost: frozenset[bytes]


@record("prefixes")
class PlatsUnrouted(Event):
    """The kernel's routes to PLATs went away, for a moment or for good."""

    prefixes: frozenset[bytes]


@record("prefix has_route")
class PlatChecked(Event):
    """What a CheckPlat found. has_route: the kernel has a route to this PLAT."""

    prefix: bytes
    has_route: bool


@record("address has_route")
class RouteChecked(Event):
    """What a CheckRoute found. has_route: a host route leads to the address."""

    address: bytes
    has_route: bool


@record("address")
class NeighbourTaken(Event):
    """The kernel believes that a routed IPv6 address is another MAC's: somebody has said so."""

    address: bytes


@record("ipv4 at is_made")
class PairMade(Event):
    """What came of an AddPair."""

    ipv4: bytes
    at: bytes
    is_made: bool


@record("mac source destination is_arp")
class Wanted(Event):
    """Somebody has a packet for an address that no way is known to; it waits.

    Of IPv4: a client of ours has it for one of another node. Of IPv6: mac is empty if it came from the mesh.
    is_arp: a client asks by ARP, and nothing waits.
    """

    mac: bytes
    source: bytes
    destination: bytes
    is_arp: bool = False


@record()
class Tick(Event):
    """Time has passed; the core looks at its timers with every event, this one is for when nothing else happens."""
