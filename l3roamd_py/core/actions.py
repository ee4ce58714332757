# SPDX-License-Identifier: ISC
"""What a node is to do: the actions that come out of the core, to be carried out in their order. No I/O.

A MAC is 6 bytes, an IPv4 address 4, an IPv6 address 16; a prefix is the first address of a /96, 16 bytes.
"""

from runtime.record import record

TYPE_CHECKING = False


@record("destination payload source")
class Send:
    """Send a datagram to port 5523 of an address, from one of our own (None: the kernel's choice)."""

    destination: bytes
    payload: bytes
    source: bytes | None = None


@record("payload source")
class SendToNodes:
    """Send a datagram to the management address of each clatnode that babel knows a way to."""

    payload: bytes
    source: bytes


@record("mac destination payload")
class SendClaim:
    """Send a CLAIM to a node-client address, if a host route leads there; answer with ClaimUnreachable if not."""

    mac: bytes
    destination: bytes
    payload: bytes


@record("mac address")
class CheckElsewhere:
    """Answer with FoundElsewhere if a host route leads to a node-client address that we gave up."""

    mac: bytes
    address: bytes


@record("mac place")
class CheckPlace:
    """Answer with PlaceChecked: whether babel knows a way to the node at whose prefix a client's home is mapped."""

    mac: bytes
    place: bytes


@record("address")
class AddNodeClient:
    """Take the client's node-client address (babel announces it), so that the next CLAIM finds us."""

    address: bytes


@record("address")
class RemoveNodeClient:
    address: bytes


@record("mac ipv4")
class AddNeighbour:
    """Pin ipv4 to the MAC on the client device: packets may come before the client's next ARP."""

    mac: bytes
    ipv4: bytes


@record("mac ipv4")
class RemoveNeighbour:
    mac: bytes
    ipv4: bytes


@record("mac")
class Unlearn:
    """Have the bridge forget at which port a MAC is: the client's next frame is a ClientSeen then."""

    mac: bytes


@record("mac address")
class AddRoute:
    """A host route to a client's IPv6 address, with its neighbour entry."""

    mac: bytes
    address: bytes


@record("mac address")
class RemoveRoute:
    mac: bytes
    address: bytes


@record("mac ipv4")
class ProbeClient:
    """Ask by ARP, to the MAC alone, whether a client is on our bridge; ArpAnswered says so."""

    mac: bytes
    ipv4: bytes


@record("mac address")
class SolicitClient:
    """Ask a MAC by neighbour discovery whether it is on our bridge. After Unlearn its answer is a ClientSeen."""

    mac: bytes
    address: bytes


@record("mac ipv4")
class OpenGate:
    """Let a client's IPv4 pass, what the gate holds of it first."""

    mac: bytes
    ipv4: bytes


@record("mac ipv4")
class CloseGate:
    """Hold a client's IPv4 from now on. The gate is closed for whoever was not let in."""

    mac: bytes
    ipv4: bytes


@record("mac ipv4")
class RefuseAtGate:
    """Drop what the gate holds of a client, and what comes: its address is somebody else's here."""

    mac: bytes
    ipv4: bytes


@record("client plat lease_s")
class UsePlat:
    """Send the traffic of `CLAT::ipv4` (16 bytes) through this PLAT, whatever the CLAT device's own one is."""

    client: bytes
    plat: bytes
    lease_s: int


@record("client plat")
class LeavePlat:
    client: bytes
    plat: bytes


@record("plat")
class SetCurrentPlat:
    """The CLAT device's own PLAT is this one now: rules translate to it and back from it. None: there is none."""

    plat: bytes | None


@record("plat")
class DropPlat:
    """Remove every rule of a PLAT."""

    plat: bytes


@record("plat")
class CheckPlat:
    """Answer with PlatChecked: whether the kernel has a route to a PLAT."""

    plat: bytes


@record("home at was lease_s serial done failed")
class MapClient:
    """On the platnode: what comes from `at` is of `home` (both `CLAT::ipv4`), and back, for lease_s seconds.

    was is where the client was until now, None for home itself. serial is kept with the mapping in the kernel.
    If it worked send `done`, otherwise `failed`.
    """

    home: bytes
    at: bytes
    was: bytes | None
    lease_s: int
    serial: int
    done: Send
    failed: Send


@record("home was done")
class UnmapClient:
    """On the platnode: the client is at home again, or its lease is over. Then send `done`."""

    home: bytes
    was: bytes
    done: Send | None = None


@record("mac ipv4")
class ReleaseLease:
    """Tell our DHCP server that it must not keep this lease: the address is somebody else's here."""

    mac: bytes
    ipv4: bytes


@record("mac ipv4")
class RenewLease:
    """Tell our DHCP server that a client that roams keeps its lease."""

    mac: bytes
    ipv4: bytes


@record("level sentence")
class Log:
    """A sentence for the log; level is that of the module logging."""

    level: int
    sentence: str


if TYPE_CHECKING:
    Action = (
        Send
        | SendToNodes
        | SendClaim
        | CheckElsewhere
        | CheckPlace
        | AddNodeClient
        | RemoveNodeClient
        | AddNeighbour
        | RemoveNeighbour
        | Unlearn
        | AddRoute
        | RemoveRoute
        | ProbeClient
        | SolicitClient
        | OpenGate
        | CloseGate
        | RefuseAtGate
        | UsePlat
        | LeavePlat
        | SetCurrentPlat
        | DropPlat
        | CheckPlat
        | MapClient
        | UnmapClient
        | ReleaseLease
        | RenewLease
        | Log
    )
else:
    Action = object  # for annotations alone
