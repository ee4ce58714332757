# SPDX-License-Identifier: ISC
"""Where an exit leads, against Python's ipaddress, which has IANA's registry; and the same on MicroPython."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlat464 import __main__ as command
from xlat464 import exit

PREFIX = "fddd:1337:1338:1234:5678:9abc::/96"
DOCUMENTATION = [IPv4Network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
PUBLIC = ["8.8.8.8", "9.9.9.9", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0"]
PUBLIC += ["192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "11.0.0.0"]

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
lengths = st.integers(8, 32)
interfaces = st.lists(st.tuples(addresses, lengths).map(lambda each: f"{each[0]}/{each[1]}"), max_size=4)
networks = st.lists(
    st.tuples(addresses, lengths).map(lambda each: str(IPv4Network(each, strict=False))), max_size=3
)


def leads_to(answer, ipv4):
    """Whether a PLAT with these routes leads to an address: the longest that holds it says so, as in the kernel."""
    whole = IPv6Address(int(IPv6Network(PREFIX).network_address) | int(IPv4Address(ipv4)))
    best = max(
        (IPv6Network(line.split()[1]).prefixlen, line.split()[0])
        for line in ["unicast " + PREFIX, *answer.splitlines()]
        if whole in IPv6Network(line.split()[1])
    )
    return best[1] == "unicast"


def ask(allowed=(), own=()):
    status, text = command.main(["exit-routes", PREFIX, ",".join(allowed), *own])
    assert status == 0, text
    return text


@given(addresses)
def test_it_leads_to_what_is_globally_reachable(ipv4):
    if ipv4 in IPv4Network("192.88.99.0/24") or ipv4 in IPv4Network("192.0.0.0/24"):
        expected = False  # which Python's releases judge differently
    else:
        expected = (ipv4.is_global and not ipv4.is_multicast) or any(ipv4 in each for each in DOCUMENTATION)
    assert leads_to(ask(), ipv4) == expected


@pytest.mark.parametrize("ipv4", PUBLIC)
def test_what_lies_beside_a_special_range_is_public(ipv4):
    assert leads_to(ask(), ipv4)


@given(interfaces, networks, addresses)
def test_own_networks_are_refused_and_exceptions_let_through_and_the_node_itself_only_by_name(
    own, allowed, ipv4
):
    answer = ask(allowed, own)
    hosts = {each.partition("/")[0] for each in own}
    for host in hosts:
        assert leads_to(answer, host) == (host + "/32" in allowed)
    for network in map(IPv4Network, allowed):
        for each in {str(network[0]), str(network[-1])} - hosts:
            assert leads_to(answer, each)
    if str(ipv4) not in hosts and not any(ipv4 in IPv4Network(each) for each in allowed):
        is_own = any(ipv4 in IPv4Network(each, strict=False) for each in own)
        assert leads_to(answer, ipv4) == (leads_to(ask(), ipv4) and not is_own)


def test_a_network_of_a_default_routes_length_refuses_nobody_else():
    assert leads_to(ask(own=["203.0.113.1/0"]), "8.8.8.8")
    assert not leads_to(ask(own=["203.0.113.1/0"]), "203.0.113.1")


@pytest.mark.parametrize("allowed", ["192.168.178.1/24", "printer", "10.0.0.0", ",", "10.0.0.0/8,", "::/0"])
def test_an_exception_that_is_no_prefix_is_one_sentence(allowed):
    status, text = command.main(["exit-routes", PREFIX, allowed])
    assert (status, text.count("\n")) == (2, 0)
    assert text.startswith("--allow: '")


def test_clients_of_all_nodes_have_one_mask():
    assert command.main(["clat-sources", "fddd:1337:1337::/48", "10.126.0.0/16"]) == (
        0,
        "fddd:1337:1337::a7e:0 ffff:ffff:ffff::ffff:0",
    )


def test_micropython_says_the_same(micropython):
    calls = [
        (f"exit.exit_routes({PREFIX!r}, '192.168.178.0/24,1.2.3.4/32', '203.0.113.1/24', '84.1.2.3')"),
        "exit.clat_sources('fddd:1337:1337::/48', '10.126.0.0/16')",
        "exit.parse_allowed('10.0.0.1/8')",
        "exit.parse_address('1.2.3.4/33')",
    ]
    for call, answer in zip(calls, micropython.each(["from xlat464 import exit"], calls), strict=True):
        try:
            expected = eval(call, {"exit": exit})
        except ValueError as error:
            expected = f"ValueError: {error}"
        assert answer == expected
