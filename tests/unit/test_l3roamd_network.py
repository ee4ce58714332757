# SPDX-License-Identifier: ISC
"""Our rtnetlink messages are those that pyroute2 makes, and are read as it reads them."""

from errno import EHOSTUNREACH, ENETUNREACH

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from l3roamd_py.kernel import netlink, network
from l3roamd_py.kernel.netlink import KernelError, Netlink, Told
from runtime.netlink import flags_of
from xlat464.address import parse_ipv4, parse_ipv6

TEXT6, TEXT4, MAC_TEXT = "2001:db8:5::9", "10.46.3.4", "02:aa:00:00:00:09"
IPV6, IPV4, MAC = parse_ipv6(TEXT6), parse_ipv4(TEXT4), bytes.fromhex("02aa00000009")
INDEX = 1  # lo is in every namespace
CREATE_REPLACE, DUMP, REPLACE = 0x500, 0x300, 0x100


class Recorder(Netlink):
    """In the place of the socket: what was asked, and answers to it."""

    def __init__(self):
        self.asked, self.answers = [], []
        self.refusal = 0  # errno, of what is no dump

    def ask(self, _what, *requests):
        self.asked += requests

    def stream(self, what, request):
        self.asked.append(request)
        if self.refusal and not flags_of(request) & DUMP:
            raise KernelError(what, self.refusal)
        return iter(self.answers)

    def close(self):
        pass


@pytest.fixture
def kernel(monkeypatch):
    recorder = Recorder()
    for module in (network, netlink):
        monkeypatch.setattr(module, "Netlink", lambda: recorder)
    return network.Network("lo", parse_ipv6("fddd:1337:1339::"))


def retracted(kernel, refusal):
    kernel._netlink.refusal = refusal
    return kernel.ways.is_retracted(IPV6)


def made(form, kind, options, attributes=(), **fields):
    """A request as pyroute2 makes it."""
    message = form()
    message["header"]["type"], message["header"]["flags"] = kind, options | 1
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def address(kind, flags):
    attributes = [("IFA_LOCAL", TEXT6), ("IFA_ADDRESS", TEXT6), ("IFA_FLAGS", 2), ("IFA_PROTO", 158)]
    return made(ifaddrmsg, kind, flags, attributes, family=10, prefixlen=128, index=INDEX)


def neighbour(text, state):
    attributes = [("NDA_DST", text), ("NDA_LLADDR", MAC_TEXT), ("NDA_PROTOCOL", 158)]
    family = 10 if ":" in text else 2
    return made(ndmsg, 28, CREATE_REPLACE, attributes, family=family, ifindex=INDEX, state=state)


def forgotten(text):
    return made(ndmsg, 29, 0, [("NDA_DST", text)], family=10 if ":" in text else 2, ifindex=INDEX)


def route(kind, flags, protocol, table=254):
    fields = {"family": 10, "dst_len": 128, "table": table % 256, "proto": protocol, "type": 1}
    named = [] if table < 256 else [("RTA_TABLE", table)]
    return made(rtmsg, kind, flags, [("RTA_DST", TEXT6), ("RTA_OIF", INDEX), *named], **fields)


def pair_route(kind, flags):
    fields = {"family": 2, "dst_len": 32, "table": 254, "proto": 158, "type": 1}
    return made(rtmsg, kind, flags, [("RTA_DST", TEXT4), ("RTA_OIF", INDEX)], **fields)


WAY = made(rtmsg, 26, 0, [("RTA_DST", TEXT6)], family=10, dst_len=128, flags=0x2000)
ASKED = {
    "add_address": (lambda k: k.add_address(IPV6), [address(20, CREATE_REPLACE)]),
    "remove_address": (lambda k: k.remove_address(IPV6), [address(21, 0)]),
    "addresses": (lambda k: k.addresses(), [made(ifaddrmsg, 22, DUMP, family=10, index=INDEX)]),
    "own_ipv4": (lambda k: k.own_ipv4(INDEX), [made(ifaddrmsg, 22, DUMP, family=2, index=INDEX)]),
    "pin": (lambda k: k.pin(MAC, IPV4), [neighbour(TEXT4, 0x80)]),
    "unpin": (lambda k: k.unpin(MAC, IPV4), [forgotten(TEXT4)]),
    "probe": (lambda k: k.probe(MAC, IPV6), [neighbour(TEXT6, 0x10)]),
    "pinned": (lambda k: k.pinned(), [made(ndmsg, 30, DUMP)]),
    "add_route": (lambda k: k.add_route(MAC, IPV6), [route(24, CREATE_REPLACE, 158), neighbour(TEXT6, 0x04)]),
    "remove_route": (
        lambda k: k.remove_route(MAC, IPV6),
        [route(24, REPLACE, 159), route(24, REPLACE, 158), route(25, 0, 158), forgotten(TEXT6)],
    ),
    "routes": (lambda k: k.routes(), [made(rtmsg, 26, DUMP, family=10)]),
    "add_pair_route": (lambda k: k.other_routes.add_pair(IPV4, "lo"), [pair_route(24, CREATE_REPLACE)]),
    "remove_pair_route": (lambda k: k.other_routes.remove_pair(IPV4, "lo"), [pair_route(25, 0)]),
    "pair_routes": (lambda k: k.other_routes.pairs(), [made(rtmsg, 26, DUMP, family=2, table=254)]),
    "follow_prefixes": (
        lambda k: k.other_routes.follow_prefixes([(IPV6[:8] + bytes(8), 64)]),
        [
            made(rtmsg, 26, DUMP, family=10, table=254, type=7),
            made(
                rtmsg,
                24,
                CREATE_REPLACE,
                [("RTA_DST", "2001:db8:5::"), ("RTA_PRIORITY", 0x7FFFFFFE), ("RTA_OIF", INDEX)],
                family=10,
                dst_len=64,
                table=254,
                proto=158,
                type=7,
            ),
        ],
    ),
    "leads_elsewhere": (lambda k: k.ways.leads_elsewhere(IPV6), [WAY]),
    "is_retracted, a route": (lambda k: retracted(k, 0), [WAY]),
    "is_retracted, no route": (lambda k: retracted(k, ENETUNREACH), [WAY]),
    "is_retracted, perhaps": (
        lambda k: retracted(k, EHOSTUNREACH),
        [WAY, made(rtmsg, 26, DUMP, family=10, table=254, type=7)],
    ),
    "bridge_port": (
        lambda k: k.bridge_entries.port_of(3, MAC),
        [
            made(ndmsg, 30, 0, [("NDA_MASTER", 3), ("NDA_LLADDR", MAC_TEXT), *vlan], family=7)
            for vlan in ((), (("NDA_VLAN", 1),))
        ],
    ),
    "prefixes": (lambda k: list(k.ways.prefixes()), [made(rtmsg, 26, DUMP, family=10, type=1)]),
    "forget_bridge_entry": (
        lambda k: k.bridge_entries.forget(MAC, INDEX),
        [made(ndmsg, 29, 0, [("NDA_LLADDR", MAC_TEXT)], family=7, ifindex=INDEX, flags=4)],
    ),
    "links": (lambda k: list(k.links()), [made(ifinfmsg, 18, DUMP)]),
    "neighbours": (lambda k: list(k.neighbours(7)), [made(ndmsg, 30, DUMP, family=7)]),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_request_is_the_one_that_pyroute2_makes(kernel, name):
    asks, expected = ASKED[name]
    asks(kernel)
    assert [each.hex() for each in kernel._netlink.asked] == [each.hex() for each in expected]


def test_what_the_kernel_lists_is_ours_by_its_mark_and_its_device(kernel):
    kernel._netlink.answers = [
        address(20, 0)[16:],
        address(20, 0)[16:20] + bytes((9, 0, 0, 0)) + address(20, 0)[24:],
    ]
    assert kernel.addresses() == {IPV6}
    kernel._netlink.answers = [neighbour(TEXT4, 0x80)[16:], forgotten(TEXT4)[16:]]
    assert kernel.pinned() == {(MAC, IPV4)}
    kernel._netlink.answers = [neighbour(TEXT6, 0x80)[16:], neighbour(TEXT6, 0x04)[16:]]
    assert kernel.pinned() == {(MAC, IPV6)}
    kernel._netlink.answers = [route(24, 0, 158)[16:], route(24, 0, 159)[16:], route(24, 0, 42)[16:]]
    assert kernel.routes() == {(IPV6, 254)}
    assert not kernel.ways.leads_elsewhere(IPV6), "the way leads to ourselves"
    kernel.ways._lo = 7
    assert kernel.ways.leads_elsewhere(IPV6)
    assert not kernel.ways.leads_to_node(IPV6), "that is a host route"


@pytest.mark.parametrize("table", [10, 255, 65536 * 4])
def test_routes_are_in_the_table_of_choice(kernel, table):
    kernel.table = table
    kernel.add_route(MAC, IPV6)
    kernel.remove_route(MAC, IPV6)
    asked = [each.hex() for each in kernel._netlink.asked if each[4] in (24, 25)]
    expected = [(24, CREATE_REPLACE, 158), (24, REPLACE, 159), (24, REPLACE, 158), (25, 0, 158)]
    assert asked == [route(*each, table).hex() for each in expected]
    kernel._netlink.answers = [route(24, 0, 158, table)[16:], route(24, 0, 158)[16:]]
    assert kernel.routes() == {(IPV6, table), (IPV6, 254)}


def test_only_a_routed_neighbour_is_pinned_and_the_entry_goes_with_its_route(kernel):
    kernel.pin_route(MAC, IPV6, True)
    assert not kernel._netlink.asked
    kernel.add_route(MAC, IPV6)
    assert kernel.is_of_other(b"\2\xaa\0\0\0\1", IPV6)
    assert not kernel.is_of_other(MAC, IPV6)
    kernel._netlink.asked.clear()
    kernel.pin_route(b"\2\xaa\0\0\0\1", IPV6, True)
    kernel.pin_route(MAC, IPV6, True)
    kernel.pin_route(MAC, IPV6, False)
    assert [each.hex() for each in kernel._netlink.asked] == [
        neighbour(TEXT6, 0x80).hex(),
        neighbour(TEXT6, 0x04).hex(),
    ]
    kernel.remove_route(MAC, IPV6)
    assert kernel._netlink.asked[-1].hex() == forgotten(TEXT6).hex()


def test_what_was_left_in_another_table_goes_and_the_client_s_neighbour_entry_stays(kernel):
    kernel.table = 10
    kernel.add_route(MAC, IPV6)
    kernel._netlink.asked.clear()
    kernel.drop_route(IPV6, 254)
    assert [each[4] for each in kernel._netlink.asked] == [24, 24, 25]
    kernel.remove_route(MAC, IPV6)
    assert kernel._netlink.asked[-1].hex() == forgotten(TEXT6).hex()


def test_an_answer_may_be_cut_off_anywhere(kernel):
    whole = neighbour(TEXT4, 0x80)[16:]
    for end in range(len(whole)):
        kernel._netlink.answers = [whole[:end]]
        kernel.pinned()
        assert Told("BBHiHBB", 12, whole[:end]).number(99) == 0
