# SPDX-License-Identifier: ISC
"""The rules of a roam in one node's kernel: what tables, sets and maps hold, take over and leave behind."""

import contextlib
import sys
from ipaddress import IPv6Address

import pytest
from node_lab import FIREWALLS, NEEDS, REPOSITORY, Node
from rules_lab import CLAT_RULES, PLAT_RULES, Hand, clat, plat

from l3roamd_py.core.mapping import Mapping

pytestmark = NEEDS


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_tear_down_leaves_nothing(machines, firewall):
    machine = machines("node")
    node = Node(machine, "dash", firewall)
    machine.run(
        ["sh", "-c", "iptables -t mangle -A FORWARD -j ACCEPT; ip6tables -t nat -N MINE"], **node.variables
    )
    machine.run("ipset create mine hash:ip")
    listing = f"{{ {snapshot_command()}; }} 2>/dev/null"
    before = machine.output(["sh", "-c", listing], **node.variables)
    for arguments in ((CLAT_RULES, "br-client", "clat"), (PLAT_RULES, "plat", plat("c"))):
        with contextlib.closing(Hand(node, *arguments)) as hand:
            hand.tear_down()  # nothing there: nothing said
            hand.set_up()
            fill(hand, arguments[0])
            assert machine.output(["sh", "-c", listing], **node.variables) != before
            hand.tear_down()
            hand.tear_down()
            assert machine.output(["sh", "-c", listing], **node.variables) == before


def test_tear_down_waits_for_whoever_holds_the_lock_of_iptables(machines):
    """Rules that stay would queue packets that no daemon reads, or send clients to the wrong PLAT."""
    machine = machines("node")
    node = Node(machine, "dash", "xtables-legacy")
    saved = ["sh", "-c", "iptables-save; ip6tables-save"]
    with contextlib.closing(Hand(node, CLAT_RULES, "br-client", "clat")) as hand:
        hand.set_up()
        locking = machine.start(["flock", "/run/xtables.lock", "sh", "-c", "echo taken; sleep 12"])
        assert locking.stdout.readline() == "taken\n"
        hand.tear_down()
    assert "L3ROAMD" not in machine.output(saved, **node.variables)


LACKS_NFQUEUE = """\
#!/bin/sh
given=$(cat)
case $given in *NFQUEUE*) echo 'unknown option "--queue-num"' >&2; exit 2 ;; esac
printf '%s\\n' "$given" | PROGRAM "$@"
"""


def test_where_iptables_cannot_hold_packets_the_gate_drops(machines):
    """As on an image without iptables-mod-nfqueue."""
    machine = machines("node")
    node = Node(machine, "dash", "xtables-legacy")
    for program in ("iptables-restore", "ip6tables-restore"):
        original = machine.output(["sh", "-c", f"command -v {program}"], **node.variables).strip()
        machine.file(f"/run/lacking/{program}", LACKS_NFQUEUE.replace("PROGRAM", original), 0o755)
    node.variables["PATH"] = f"/run/lacking:{node.variables['PATH']}"
    with contextlib.closing(Hand(node, CLAT_RULES, "br-client", "clat")) as hand:
        hand.set_up()
        fill(hand, CLAT_RULES)
        assert not hand.can_queue()
        gate = "-A L3ROAMD_gate -i br-client -o clat -m set ! --match-set l3roamd_open src -j DROP"
        assert gate in machine.output("iptables-save", **node.variables)
        hand.tear_down()
    assert "L3ROAMD" not in machine.output(["sh", "-c", "iptables-save; ip6tables-save"], **node.variables)


def test_what_iptables_made_for_us_goes_with_us_and_what_others_need_stays(machines):
    machine = machines("node")
    node = Node(machine, "dash", "xtables-nft")
    foreign = "iptables-nft -t mangle -A FORWARD -m mark --mark 7 -j ACCEPT"
    for before, meanwhile, left in (
        ("true", "true", ""),
        ("true", foreign, "chain FORWARD"),
        ("nft add table ip mangle", "nft add set ip mangle mine { type ipv4_addr; }", "set mine"),
    ):
        machine.run(["sh", "-c", before.replace(";", "\\;")])
        with contextlib.closing(Hand(node, CLAT_RULES, "br-client", "clat")) as hand:
            hand.set_up()
            fill(hand, CLAT_RULES)
            machine.run(["sh", "-c", meanwhile.replace(";", "\\;").replace("{", "\\{")])
            hand.tear_down()
        after = machine.output("nft list ruleset")
        assert (left in after) if left else not after, after
        machine.run("nft flush ruleset")


def test_plats_that_somebody_made_up_do_not_fill_the_kernel(machines):
    """A roam begins with INFO of another node, which may name any PLAT."""
    client = clat("a", "10.1.2.3")
    made_up = [plat("c")[:8] + number.to_bytes(4, "big") + bytes(4) for number in range(99, 199)]
    machine = machines("node")
    with contextlib.closing(Hand(Node(machine), CLAT_RULES, "br-client", "clat")) as hand:
        hand.set_up()
        hand.set_current_plat(plat("c"))
        for each in made_up:
            hand.use_plat(client, each, 60)
        assert hand.plat_of() == {client: made_up[-1]}
        listing = machine.output("nft list table ip6 l3roamd")
        assert listing.count(str(IPv6Address(client))) == 2
        hand.drop_plat(made_up[-1])
        assert str(IPv6Address(client)) not in machine.output("nft list table ip6 l3roamd")


def test_a_set_that_a_rule_lets_go_of_a_moment_later_is_removed_all_the_same(machines):
    machine = machines("node")
    rule = "FORWARD -m set --match-set l3roamd_roamed src -j ACCEPT"
    with contextlib.closing(
        Hand(Node(machine, "dash", "xtables-nft"), PLAT_RULES, "plat", plat("c"))
    ) as hand:
        hand.set_up()
        machine.run(f"ip6tables -A {rule}")
        later = machine.start(["sh", "-c", f"sleep 0.3; ip6tables -D {rule}"])
        hand.tear_down()
        later.wait()
    assert "l3roamd_roamed" not in machine.output("ipset list")


def snapshot_command():
    saves = "iptables-legacy-save iptables-nft-save ip6tables-legacy-save ip6tables-nft-save"
    quiet = "grep -v -e '^#' -e '^\\*' -e '^:[A-Z]* ACCEPT' -e COMMIT"
    return f"for s in {saves}; do $s | {quiet}; done; nft list tables | grep -v -e mangle -e nat; ipset list"


def test_what_we_change_ourselves_is_no_reason_to_look_at_all_rules(machines):
    machine = machines("node")
    for arguments in ((CLAT_RULES, "br-client", "clat"), (PLAT_RULES, "plat", plat("c"))):
        with contextlib.closing(Hand(Node(machine), *arguments)) as hand:
            hand.set_up()
            assert not hand.call("checks.is_due", (0,), waits=True)
            fill(hand, arguments[0])
            assert not hand.call("checks.is_due", (1,), waits=True)
            machine.run("nft add table ip6 foreign")
            assert hand.call("checks.is_due", (2,), waits=True)
            fill(hand, arguments[0])
            machine.run("nft delete table ip6 foreign")
            assert hand.call("checks.is_due", (3,), waits=True)


def fill(hand, role):
    if role == PLAT_RULES:
        assert hand.map_clients([Mapping(clat("a", "10.1.2.3"), clat("b", "10.1.2.3"), None, 60, 1)]) == [
            None
        ]
        return
    hand.set_current_plat(plat("c"))
    hand.use_plat(clat("a", "10.1.2.3"), plat("x"), 60)
    hand.open_gate(b"\2abcde", bytes((10, 1, 2, 3)))
    hand.refuse(b"\2abcdf", bytes((10, 1, 2, 4)))


OLDER = """
    table ip6 l3roamd_plat {
        map from { type ipv6_addr : ipv6_addr; flags timeout; }
        map to { type ipv6_addr : ipv6_addr; flags timeout; }
        chain old { type filter hook prerouting priority -300; iifname "old" ip6 saddr set ip6 saddr map @from; }
    }
    add element ip6 l3roamd_plat from { fddd::b timeout 300s comment "5" : fddd::a }
    add element ip6 l3roamd_plat to { fddd::a timeout 300s : fddd::b }
"""


def test_a_table_of_an_older_version_is_replaced_with_its_elements_kept(machines):
    machine = machines("node")
    machine.run("nft -f -", input=OLDER)
    machine.run("nft add table ip6 foreign")
    with contextlib.closing(Hand(Node(machine), PLAT_RULES, "plat", plat("c"))) as hand:
        hand.set_up()
        [mapping] = hand.mappings()
        assert (mapping.home, mapping.at, mapping.serial) == (
            IPv6Address("fddd::a").packed,
            IPv6Address("fddd::b").packed,
            5,
        )
        listing = machine.output("nft --terse list ruleset")
        assert "chain old" not in listing
        assert 'iifname != "plat"' in listing
        assert "chain before_conntrack" in listing
        assert "table ip6 foreign" in listing
        # and one that somebody took a part of is whole again
        machine.run("nft flush chain ip6 l3roamd_plat after_nat")
        machine.run("nft delete chain ip6 l3roamd_plat after_nat")
        hand.set_up()
        assert sorted(machine.output("nft --terse list ruleset").split()) == sorted(listing.split())
        machine.run("nft flush ruleset")
        assert hand.map_clients([mapping]) == [None]
        assert [each.home for each in hand.mappings()] == [mapping.home]


def test_who_comes_to_a_place_takes_it_and_a_late_word_of_the_former_takes_nothing(machines):
    with contextlib.closing(Hand(Node(machines("node")), PLAT_RULES, "plat", plat("c"))) as hand:
        hand.set_up()
        one, two = clat("a", "10.1.2.3"), clat("x", "10.1.2.3")
        place, other = clat("b", "10.1.2.3"), clat("c", "10.1.2.3")
        assert hand.map_clients([Mapping(one, place, None, 60, 1)]) == [None]
        assert hand.map_clients([Mapping(two, place, None, 60, 2)]) == [None]
        assert [(each.home, each.at) for each in hand.mappings()] == [(two, place)]
        assert hand.map_clients([Mapping(one, other, place, 60, 3)]) == [None]
        assert {(each.home, each.at) for each in hand.mappings()} == {(two, place), (one, other)}
        hand.unmap_client(one, place)
        assert [(each.home, each.at) for each in hand.mappings() if each.at == place] == [(two, place)]
        # twice in one transaction: the later mapping counts, and nothing is mapped to the place between
        hand.unmap_client(two, place)
        walk = [Mapping(two, place, None, 60, 4), Mapping(two, one, place, 60, 5)]
        assert hand.map_clients(walk) == [None, None]
        assert [(each.home, each.at) for each in hand.mappings() if each.home == two] == [(two, one)]
        # what we are told of the former place may be wrong
        assert hand.map_clients([Mapping(two, place, other, 60, 6)]) == [None]
        assert hand.map_clients([Mapping(two, other, None, 60, 7)]) == [None]
        assert {each.at: each.home for each in hand.mappings()}[other] == two
        hand.unmap_client(two, other)
        before = list(hand.mappings())
        assert hand.map_clients([Mapping(two, two, None, 0, 8)]) == [None], "who is at home again, said twice"
        assert list(hand.mappings()) == before


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_without_its_programs_a_kind_says_what_it_lacks(machines, firewall):
    node = Node(machines("node"), "dash", firewall)
    ask = "from l3roamd_py.netfilter.choice import choose_rules\ntry: print(choose_rules({!r})[1].__name__)\n"
    ask += "except Exception as error: print(error)"
    wanted = firewall.split("-")[0]

    def choose(which, *environment):
        words = ["env", *environment, sys.executable, "-c", ask.format(which)]
        return node.machine.output(words, **node.variables, PYTHONPATH=str(REPOSITORY)).strip()

    assert choose("auto") == "NftPlatRules"
    assert choose(wanted) == {"nft": "NftPlatRules", "xtables": "XtablesPlatRules"}[wanted]
    assert "there is no iptables" in choose("xtables", "PATH=/nowhere")
    assert "l3roamd" not in node.machine.output("nft list ruleset") + node.machine.output("ipset list")
