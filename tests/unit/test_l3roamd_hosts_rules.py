# SPDX-License-Identifier: ISC
"""What the rules of hosts that translate themselves cost: PLATs, addresses and answers have an end."""

import json
from types import SimpleNamespace

import pytest

from l3roamd_py import answers
from l3roamd_py.control import parse
from l3roamd_py.netfilter.nft import hosts as nft
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft import table as tables
from l3roamd_py.netfilter.nft.messages import Element
from l3roamd_py.netfilter.rules import PLATS_MAX, RulesError, name_of_plat
from l3roamd_py.netfilter.xtables.hosts import HOST_SET, XtablesHosts
from runtime.netlink import attributes, unpack_header

PREF64, RANGE = bytes.fromhex("0064ff9b") + bytes(12), bytes.fromhex("fddd13371338") + bytes(10)


def plat(number):
    return RANGE[:11] + bytes((number, 0, 0, 0, 0))


def client(number):
    return bytes.fromhex("20010db8") + number.to_bytes(12, "big")


class Sets:
    """As IpSets, which has its sets in the kernel."""

    def __init__(self):
        self.there = {}

    def names(self, prefix):
        return sorted(self.there)

    def create(self, each):
        self.there.setdefault(each.name, set())

    def add(self, name, member):
        self.there[name].add(member.address)

    def delete(self, name, address):
        self.there[name].discard(address)

    def destroy(self, name):
        del self.there[name]


def test_iptables_rules_are_of_64_plats_at_most_and_those_that_nobody_uses_give_way():
    sets, rules = Sets(), {}
    hosts = XtablesHosts(sets, SimpleNamespace(want=rules.__setitem__), "br-client", PREF64, RANGE)
    hosts.set_up(None)
    for number in range(3 * PLATS_MAX):  # a client that walks, and has another PLAT each time
        hosts.use([client(0)], plat(number))
        assert len(hosts.plats) <= PLATS_MAX
    hosts.note_written()
    assert len(sets.there) <= PLATS_MAX
    assert sets.there[name_of_plat(HOST_SET, hosts.plat_of[client(0)])] == {client(0)}
    used = [plat(number) for number in range(PLATS_MAX)]
    for number, each in enumerate(used):
        hosts.use([client(number)], each)
    with pytest.raises(RulesError, match="expected at most 64"):
        hosts.use([client(99)], plat(PLATS_MAX))
    assert client(99) not in hosts.plat_of
    assert sorted(hosts.plats) == used
    assert {len(each) for each in rules.values()} == {1, PLATS_MAX}
    hosts.use([client(99)], plat(3))
    assert hosts.plat_of[client(99)] == plat(3)


class Kernel:
    """As NetfilterSocket: each element that is asked for is there. refused: which transaction fails, from 0."""

    def __init__(self, refused=None):
        self.refused, self.done = refused, []

    def dump(self, request):
        return [b"it"]

    def commit(self, subsystem, messages):
        if len(self.done) == self.refused:
            raise OSError("no room")
        self.done.append([unpack_header(each)[1] & 0xFF for each in messages])


def test_clients_that_get_another_plat_have_one_in_between():
    clients = [client(number) for number in range(2 * nft.ELEMENTS_AT_ONCE)]
    kernel = Kernel(refused=1)
    hosts = nft.NftHosts(kernel, "br-client", PREF64, RANGE)
    hosts.plat_of = dict.fromkeys(clients, plat(1))
    with pytest.raises(RulesError):
        hosts.use(clients, plat(2))
    assert kernel.done == [[nftables.DELETE_ELEMENT] * 10 + [nftables.NEW_ELEMENT] * 10]
    half = nft.ELEMENTS_AT_ONCE
    assert {hosts.plat_of[each] for each in clients[:half]} == {plat(2)}
    assert {hosts.plat_of[each] for each in clients[half:]} == {plat(1)}


def test_the_set_of_who_translates_has_a_size_and_an_older_one_is_cut_to_it(monkeypatch):
    (hosts,) = (each for each in nft.TABLE.sets if each.name == "hosts")
    said = attributes(nftables.add_set(nft.TABLE, hosts, 2), 20)
    assert int.from_bytes(attributes(said[9])[1], "big") == nft.HOSTS_MAX == 4096
    old = [Element(client(number), None, 1000) for number in range(nft.HOSTS_MAX + 904)]
    monkeypatch.setattr(tables, "find_table", lambda *_: "l3roamd_py of before")
    monkeypatch.setattr(tables, "list_sets", lambda *_: ["hosts"])
    monkeypatch.setattr(tables, "list_elements", lambda *_: old)
    carried = []
    monkeypatch.setattr(tables, "add_elements", lambda table, name, *some: carried.extend(some) or b"")
    tables.raise_table(SimpleNamespace(commit=lambda *_: None), nft.TABLE, [])
    assert len(carried) == nft.HOSTS_MAX


def test_who_asks_for_roams_has_nobody_list_the_hosts():
    daemon = SimpleNamespace(
        now_s=lambda: 1.0, core=SimpleNamespace(status=lambda now_s, collect: {"roams": [], "roams_total": 7})
    )
    answer = answers.Answers(daemon).carry_out(parse(b"get_roams"))
    assert json.loads(answer) == {"roams": [], "total": 7}
