# SPDX-License-Identifier: ISC
"""Which of the kernel's words about neighbours are a sign of a client."""

import contextlib
import errno
import socket
import sys
from types import SimpleNamespace

import pytest
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from l3roamd_py.core.events import AddressGone, AddressSeen, ClientGone, ClientSeen, NeighbourTaken
from l3roamd_py.core.options import Options
from l3roamd_py.kernel import stations
from l3roamd_py.kernel.finder import Finder
from l3roamd_py.kernel.listener import READS_MAX
from l3roamd_py.kernel.listing import AGAIN_S, PAUSE_S, PAUSES, STEPS_MAX, Listing
from l3roamd_py.kernel.netlink import (
    AF_BRIDGE,
    DEL_NEIGHBOUR,
    DELAY,
    FAILED,
    NEW_NEIGHBOUR,
    PERMANENT,
    PROBE,
    REACHABLE,
    STALE,
    KernelError,
)
from l3roamd_py.kernel.network import OWNER
from l3roamd_py.kernel.stations import _family_and_group
from runtime.netlink import attribute
from xlat464.address import parse_ipv4, parse_ipv6

MAC, INDEX = b"\2\xaa\0\0\0\x09", 7
IPV6, IPV4 = "2001:db8:5::9", "10.46.3.4"


def make(form, attributes, **fields):
    """A message as pyroute2 makes it."""
    message = form()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return message


@pytest.fixture
def finder():
    kernel = SimpleNamespace(
        client_device="br-client",
        is_of_other=lambda mac, _: mac != MAC,
        owner_of=lambda address: MAC if address == parse_ipv6(IPV6) else b"",
        bridge_entries=SimpleNamespace(),
    )
    with contextlib.closing(Finder(kernel)) as finder:
        finder.client_index = INDEX
        yield finder


def told(finder, text, state, kind=NEW_NEIGHBOUR, index=INDEX, mac=MAC, protocol=0, is_listed=False):
    """The events that come of a message about a neighbour."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    about = [("NDA_DST", text)] + ([("NDA_LLADDR", mac.hex(":"))] if mac else [])
    about += [("NDA_PROTOCOL", protocol)] if protocol else []
    message = make(ndmsg, about, family=family, ifindex=index, state=state)
    message["header"]["type"] = kind
    message.encode()
    return finder._understand(kind, bytes(message.data)[16:], is_listed)


@pytest.mark.parametrize("state", [DELAY, PROBE, PERMANENT])
def test_that_the_kernel_asks_or_was_told_is_no_sign(finder, state):
    assert told(finder, IPV6, state) == told(finder, IPV4, state) == []


def test_an_answer_is_a_sign_and_an_old_entry_only_news_of_an_address(finder):
    address = parse_ipv6(IPV6)
    assert told(finder, IPV6, REACHABLE) == [AddressSeen(MAC, address, is_sign=True)]
    assert told(finder, IPV6, STALE) == [AddressSeen(MAC, address, is_sign=False)]
    assert told(finder, IPV6, FAILED) == [AddressGone(MAC, address, is_silent=True)]
    assert told(finder, IPV4, REACHABLE) == [ClientSeen(MAC, parse_ipv4(IPV4), is_proof=True)]
    assert told(finder, IPV4, STALE) == told(finder, IPV4, FAILED) == []


def test_an_entry_that_never_had_an_answer_fails_for_whom_we_route_it_to(finder):
    """The one before it went with the carrier of the last port: the client was alone here."""
    assert told(finder, IPV6, FAILED, mac=b"") == [AddressGone(MAC, parse_ipv6(IPV6), is_silent=True)]
    assert told(finder, "2001:db8:5::8", FAILED, mac=b"") == told(finder, IPV6, STALE, mac=b"") == []


@pytest.mark.parametrize("mac", [b"\2\xaa\0\0\0\x01", b"\x33\x33\0\0\0\x01"])
def test_that_an_entry_of_ours_is_another_mac_s_is_told(finder, mac):
    address = parse_ipv6(IPV6)
    for state in (STALE, REACHABLE):
        assert told(finder, IPV6, state, mac=mac, protocol=OWNER)[0] == NeighbourTaken(address)
    assert NeighbourTaken(address) not in told(finder, IPV6, STALE, mac=mac)
    assert told(finder, IPV6, FAILED, protocol=OWNER) == [AddressGone(MAC, address, is_silent=True)]
    assert told(finder, IPV6, STALE, protocol=OWNER) == []
    assert told(finder, IPV6, STALE, protocol=OWNER, is_listed=True) == [AddressSeen(MAC, address, False)]


def test_others_devices_and_forgotten_entries_say_nothing(finder):
    assert told(finder, IPV6, REACHABLE, index=INDEX + 1) == []
    assert told(finder, IPV6, REACHABLE, kind=DEL_NEIGHBOUR) == []


BRIDGE, PORT = 11, 12


def entry(mac=MAC, port=PORT, bridge=BRIDGE, state=REACHABLE):
    """The kernel's message about an entry of a bridge."""
    described = [("NDA_LLADDR", mac.hex(":")), ("NDA_MASTER", bridge), ("NDA_VLAN", 1)]
    message = make(ndmsg, described, family=AF_BRIDGE, ifindex=port, state=state)
    message["header"]["type"] = NEW_NEIGHBOUR
    message.encode()
    return bytes(message.data)[16:]


def learnt(finder, *about, kind=NEW_NEIGHBOUR, **more):
    """The events that come of it."""
    return finder._understand(kind, entry(*about, **more))


def test_a_client_comes_and_goes_with_its_entry_at_a_port_of_the_bridge(finder):
    assert learnt(finder) == [], "before there is a bridge"
    finder.bridge_index = BRIDGE
    assert learnt(finder) == [ClientSeen(MAC)]
    assert learnt(finder, port=PORT + 1) == [ClientSeen(MAC)]
    assert learnt(finder, kind=DEL_NEIGHBOUR) == [], "it is at another port by now"
    assert learnt(finder, port=PORT + 1, kind=DEL_NEIGHBOUR) == [ClientGone(MAC)]
    assert learnt(finder, bridge=BRIDGE + 1) == learnt(finder, state=PERMANENT) == []
    finder.links.own_macs = {MAC}
    assert learnt(finder) == learnt(finder, b"\3" + MAC[1:]) == []


def test_after_messages_were_lost_only_what_changed_is_told(finder, monkeypatch):
    stays, walks, leaves, comes = (b"\2\xaa\0\0\0" + bytes((last,)) for last in range(4))
    monkeypatch.setattr(finder, "_follow", lambda: None)
    finder.bridge_index = BRIDGE
    for mac in (stays, walks, leaves):
        learnt(finder, mac)
    there = [entry(stays), entry(walks, PORT + 1), entry(comes)]
    finder._kernel.links = list
    finder._kernel.neighbours = lambda family: there if family == AF_BRIDGE else []
    finder._kernel.bridge_entries.port_of = lambda bridge, mac: 0
    assert finder.dump() == [ClientSeen(walks), ClientSeen(comes), ClientGone(leaves)]
    assert finder.ports == {stays: PORT, walks: PORT + 1, comes: PORT}
    assert finder.dump() == []
    finder._kernel.bridge_entries.port_of = lambda bridge, mac: PORT
    there.clear()  # the kernel leaves out some of a list that changes meanwhile
    assert finder.dump() == [ClientSeen(walks)]
    assert finder.ports == dict.fromkeys((stays, walks, comes), PORT)


def test_what_happens_during_a_listing_counts_more_than_what_is_listed(finder, monkeypatch):
    """Between two slices the kernel tells of changes, and what is listed after them may be older."""
    first, leaves, walks = (b"\2\xaa\0\0\0" + bytes((last,)) for last in range(3))
    monkeypatch.setattr(finder, "_follow", lambda: None)
    finder.bridge_index = BRIDGE
    for mac in (first, leaves, walks):
        learnt(finder, mac)
    finder._kernel.links = list
    there = [entry(first), entry(leaves), entry(walks)]
    finder._kernel.neighbours = lambda family: there if family == AF_BRIDGE else []
    finder._kernel.bridge_entries.port_of = lambda bridge, mac: 0
    finder.listing.want()
    assert finder.listing.go_on(1.0, 1) == []
    assert learnt(finder, leaves, kind=DEL_NEIGHBOUR) == [ClientGone(leaves)]
    assert finder.listing.go_on(1.0) == []
    assert finder.ports == {first: PORT, walks: PORT}


class Told:
    """A socket that is told of things, and was told of too many: numbers are messages, None an overrun."""

    def __init__(self, *waiting):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.waiting = list(waiting)
        theirs.send(b"readable")

    def fileno(self):
        return self.ours.fileno()

    def recv(self, size, flags=0):
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "")
        said = self.waiting.pop(0)
        if not self.waiting:
            self.ours.recv(100)
        if said is None:
            raise OSError(errno.ENOBUFS, "")
        return said


def test_a_listing_begins_when_what_waits_is_read_and_others_have_their_turn_meanwhile():
    begun = []

    def steps():
        begun.append(True)
        for number in range(2 * STEPS_MAX + 1):
            yield [number]

    pending = []
    listing = Listing(steps, pending)
    told = Told(None, *[b"x"] * (READS_MAX + 5))
    assert list(listing.told(told)) == [b"x"] * (READS_MAX - 1)
    assert pending == [], "older messages wait"
    assert list(listing.told(told)) == [b"x"] * 6
    assert pending == [listing]
    assert [len(listing.go_on(now_s)) for now_s in (10.0, 11.0, 12.0)] == [STEPS_MAX, STEPS_MAX, 1]
    assert pending == []
    assert len(begun) == 1

    list(listing.told(Told(None)))
    assert pending == [listing], "the flood may be over, and nobody else says so"
    assert listing.next_s == 12.0 + PAUSES * 2.0, "as the last one took two seconds"
    listing.go_on(50.0, 1)
    list(listing.told(Told(None)))  # during a listing: what is lost now may be listed already
    listing.go_on(50.0, 1000)
    assert pending == [listing]
    assert listing.next_s == 50.0 + PAUSE_S


def test_a_listing_that_the_kernel_refuses_is_tried_again():
    def steps():
        yield ["something"]
        raise KernelError("to list", 12)

    pending = []
    listing = Listing(steps, pending)
    assert listing.all(1.0) == ["something"]
    assert listing.failure.startswith("to list")
    assert pending == [listing]
    assert listing.next_s == 1.0 + AGAIN_S, "and the log is not filled meanwhile"


def test_who_floods_one_port_hides_nobody_at_another(finder):
    finder.bridge_index = BRIDGE
    for number in range(100):
        learnt(finder, bytes((2, 0xCC, 0, 0, 0, number)), PORT + 1)
    for number in range(10_000):
        learnt(finder, bytes((2, 0xBB, 0, 0, *divmod(number, 256))), PORT)
    assert len(finder.ports) <= Options.max_ports
    assert sum(port == PORT + 1 for port in finder.ports.values()) == 100
    assert finder.ports[bytes((2, 0xBB, 0, 0, *divmod(9_999, 256)))] == PORT
    finder.links._links[PORT] = ("lan1", b"", BRIDGE)
    assert finder.port_of(bytes((2, 0xBB, 0, 0, *divmod(9_999, 256)))) == "lan1"
    assert finder.port_of(MAC) == ""


def test_a_generic_family_and_its_group_are_found_by_their_names():
    """Of the controller, which every kernel has; nl80211 is found the same way."""
    assert _family_and_group("nlctrl", "notify") == (16, 16)
    assert _family_and_group("nlctrl", "mlme") == (16, 0)
    with pytest.raises(OSError, match="No such file"):
        _family_and_group("no such", "mlme")


def test_stations_are_listed_anew_and_only_what_changed_is_told(finder, monkeypatch):
    stays, leaves, comes = (b"\2\xaa\0\0\0" + bytes((last,)) for last in range(3))
    here = [stays, leaves]

    class Asked:
        def __init__(self, _protocol):
            pass

        def dump(self, _request):
            for mac in here:
                yield station(mac)

        def close(self):
            pass

    def station(mac, command=19):
        return bytes((command, 1, 0, 0)) + attribute(3, PORT.to_bytes(4, sys.byteorder)) + attribute(6, mac)

    monkeypatch.setattr(stations, "NetlinkSocket", Asked)
    finder.bridge_index = BRIDGE
    finder.links._links[PORT] = ("wlan0", b"", BRIDGE)
    found = stations.Stations(finder)
    told = [event for mac in here for event in found.understand(station(mac))]
    assert told == [ClientSeen(mac, is_proof=True) for mac in here]
    here[:] = [stays, comes]
    assert found.listing.all(1.0) == [ClientSeen(comes, is_proof=True), ClientGone(leaves)]
    assert [found.is_here(mac) for mac in (stays, leaves, comes)] == [True, False, True]
    assert list(found.understand(station(stays, command=20))) == [ClientGone(stays)]
    assert not found.is_here(stays)
