# SPDX-License-Identifier: ISC
"""What a node is to do: the actions that come out of the core, to be carried out in their order. No I/O.

A MAC is 6 bytes, an IPv4 address 4, an IPv6 address 16; a prefix is the first address of a /96, 16 bytes.
"""

from l3roamd_py.core import wire
from runtime.record import record


class Action:
    """Something to do. Each kind below is a record."""

    __slots__ = ()


@record("mac ipv4")
class ForIpv4(Action):
    """What is done for a client and its IPv4 address."""

    mac: bytes
    ipv4: bytes


@record("mac address")
class ForAddress(Action):
    """What is done for a client and one of its addresses."""

    mac: bytes
    address: bytes


@record("destination payload source")
class Send(Action):
    """Send a datagram to port 5523 of an address, from one of our own (None: the kernel's choice)."""

    destination: bytes
    payload: bytes
    source: bytes | None = None


@record("payload source")
class SendToNodes(Action):
    """Send a datagram to the management address of each clatnode that babel knows a way to."""

    payload: bytes
    source: bytes


@record("mac destination payload")
class SendClaim(Action):
    """Send a CLAIM to a node-client address, if a host route leads there; answer with ClaimUnreachable if not."""

    mac: bytes
    destination: bytes
    payload: bytes


class CheckElsewhere(ForAddress):
    """Answer with FoundElsewhere if a host route leads to a node-client address that we gave up."""


@record("address")
class SeekAddress(Action):
    """Ask on our bridge who has an IPv6 address: AddressSeen, if somebody answers."""

    address: bytes


@record("mac place")
class CheckPlace(Action):
    """Answer with PlaceChecked: whether babel knows a way to the node at whose prefix a client's home is mapped."""

    mac: bytes
    place: bytes


@record("address")
class AddNodeClient(Action):
    """Take the client's node-client address (babel announces it), so that the next CLAIM finds us."""

    address: bytes


@record("address")
class RemoveNodeClient(Action):
    address: bytes


class AddNeighbour(ForIpv4):
    """Pin ipv4 to the MAC on the client device: packets may come before the client's next ARP."""


class RemoveNeighbour(ForIpv4):
    """Unpin it, unless it is pinned to another MAC by now."""


@record("mac")
class Unlearn(Action):
    """Have the bridge forget at which port a MAC is: the client's next frame is a ClientSeen then."""

    mac: bytes


class AddRoute(ForAddress):
    """A host route to a client's IPv6 address, with its neighbour entry."""


class RemoveRoute(ForAddress):
    """Take both back."""


class PinRoute(ForAddress):
    """Keep the neighbour entry of a routed address as it is to be, whoever advertises that address."""


class UnpinRoute(ForAddress):
    """Let the kernel find out again whether the neighbour is there."""


@record("pairs for_s")
class SendOn(Action):
    """Send what comes for addresses on to their care-of addresses, and route them no longer than for_s more.

    pairs: an address and its care-of address each.
    """

    pairs: tuple[tuple[bytes, bytes], ...]
    for_s: float


@record("address")
class StopSendingOn(Action):
    """What comes for an address is for here again."""

    address: bytes


@record("pairs for_s")
class AddCareOf(Action):
    """What comes for a care-of address is for the client's: for so long, or until that is not routed here any more."""

    pairs: tuple[tuple[bytes, bytes], ...]
    for_s: float


class ProbeClient(ForIpv4):
    """Ask by ARP, to the MAC alone, whether a client is on our bridge; ArpAnswered says so."""


class SolicitClient(ForAddress):
    """Ask a MAC by neighbour discovery whether it is on our bridge. ArpAnswered says so."""


class OpenGate(ForAddress):
    """Let pass what comes from a client's address, what the gate holds of it first."""


class CloseGate(ForAddress):
    """Hold what comes from it from now on. The gate is closed for whoever was not let in."""


class RefuseAtGate(ForAddress):
    """Drop what the gate holds of a client, and what comes: the address is not the client's to use."""


@record("client plat lease_s")
class UsePlat(Action):
    """Send the traffic of `CLAT::ipv4` (16 bytes) through this PLAT, whatever the CLAT device's own one is."""

    client: bytes
    plat: bytes
    lease_s: int


@record("clients plat")
class UsePlats(Action):
    """Send what these IPv6 addresses of clients send to pref64 through a PLAT, until LeavePlat."""

    clients: tuple[bytes, ...]
    plat: bytes


@record("client plat")
class LeavePlat(Action):
    """client: `CLAT::ipv4`, or an IPv6 address of a client."""

    client: bytes
    plat: bytes


@record("plat")
class SetCurrentPlat(Action):
    """The CLAT device's own PLAT is this one now: rules translate to it and back from it. None: there is none."""

    plat: bytes | None


@record("plat")
class DropPlat(Action):
    """Remove every rule of a PLAT."""

    plat: bytes


@record("plat")
class CheckPlat(Action):
    """Answer with PlatChecked: whether the kernel has a route to a PLAT."""

    plat: bytes


@record("home at was lease_s serial done")
class MapClient(Action):
    """On the platnode: what comes from `at` is of `home` (both `CLAT::ipv4`), and back, for lease_s seconds.

    was is where the client was until now, None for home itself. serial is kept with the mapping in the kernel.
    If it worked send `done`, otherwise what `failed` makes of it.
    """

    home: bytes
    at: bytes
    was: bytes | None
    lease_s: int
    serial: int
    done: Send

    def failed(self) -> Send:
        done = self.done
        return Send(done.destination, wire.refuse(done.payload, wire.KERNEL), done.source)


@record("home was done")
class UnmapClient(Action):
    """On the platnode: the client is at home again, or its lease is over. Then send `done`. was: where, if mapped."""

    home: bytes
    was: bytes | None
    done: Send | None = None


@record("ipv4 at")
class ForPair(Action):
    """What is done for the client of another node, `at` being CLAT::ipv4 with that node's CLAT."""

    ipv4: bytes
    at: bytes


class AddPair(ForPair):
    """Translate what is for a client of another node, and what comes from it. PairMade says what came of it."""


class RestorePair(ForPair):
    """Add it again if it is gone: the CLAT's device may have been made anew."""


class RemovePair(ForPair):
    """Take that back."""


@record("address is_lasting")
class PassWanted(Action):
    """Let go on what waits for an address. is_lasting: and queue nothing for it from now on."""

    address: bytes
    is_lasting: bool = False


@record("address")
class QueueWanted(Action):
    """From now on the next packet for an address is Wanted again."""

    address: bytes


@record("address")
class RefuseWanted(Action):
    """Tell who waits for an address that it cannot be reached (ICMP)."""

    address: bytes


@record("address")
class CheckRoute(Action):
    """Answer with RouteChecked: whether a host route leads to an IPv6 address."""

    address: bytes


@record("mac ipv4 address")
class AnswerArp(Action):
    """Tell a client, which has ipv4, that what is for an address is to be sent to us."""

    mac: bytes
    ipv4: bytes
    address: bytes


class ReleaseLease(ForIpv4):
    """Tell our DHCP server that it must not keep this lease: the address is somebody else's here."""


class RenewLease(ForIpv4):
    """Tell our DHCP server that a client that roams keeps its lease."""


@record("level sentence")
class Log(Action):
    """A sentence for the log; level is that of the module logging."""

    level: int
    sentence: str
