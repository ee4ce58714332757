# SPDX-License-Identifier: ISC
"""A roam among rules of iptables that somebody puts before ours: what must hold does not depend on who came last."""

import pytest
from node_lab import BESIDE, NEEDS
from rules_lab import plat
from waiting import wait_until

from l3roamd_py.netfilter.rules import CHECK_S
from l3roamd_py.netfilter.xtables.chains import CHECKS_PER_MOVE, MOVES

pytestmark = NEEDS

KINDS = ["xtables-legacy", "xtables-nft", BESIDE]


def rules_at(mesh, place):
    """The targets of a built-in chain's rules at b, in their order; place: like `iptables mangle FORWARD`."""
    program, table, hook = place.split()
    saved = mesh.machine["b"].output(f"{program}-save -t {table}", **mesh.node["b"].variables)
    return [line.split()[-1] for line in saved.splitlines() if line.startswith(f"-A {hook} ")]


def insert(mesh, *rules):
    for rule in rules:
        mesh.machine["b"].run(rule, **mesh.node["b"].variables)


@pytest.mark.parametrize("firewall", KINDS)
@pytest.mark.parametrize("target", ["ACCEPT", "RETURN"])
def test_who_accepts_before_the_gate_does_not_open_it(mesh_of, firewall, target):
    mesh = mesh_of(firewall)
    client = mesh.start()
    assert client.do("tick") is True
    hand = mesh.hands["b"]
    insert(mesh, f"iptables -t mangle -I FORWARD -j {target}")
    client.attach("b")
    client.say("echo")
    wait_until(lambda: hand.read_arrivals() or hand.counters()["waiting"], "packets that wait elsewhere")
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.hear() is True
    assert client.do("ticks 30") is True
    assert client.do("bulk") is True
    # a rule of others sees what waited, marks it as it likes, and is behind us the next time that we look
    hand.close_gate(*client.key)
    insert(mesh, "iptables -t mangle -A FORWARD -o clat -j MARK --set-xmark 0x1234/0xffffffff")
    hand.tick(0)
    hand.tick(CHECK_S)
    targets, notices = rules_at(mesh, "iptables mangle FORWARD"), hand.notices()
    if firewall == BESIDE:  # nf_tables' rules are before all of iptables'
        assert "L3ROAMD_gate" not in targets
        assert notices == []
    else:
        assert targets.index("L3ROAMD_gate") < targets.index(target)
        ours = "stood before our rules; ours come first again"
        assert notices == [f"iptables -t mangle FORWARD: `-j {target}` {ours}"]
    client.say("echo")
    mesh.await_arrival("b", client)
    hand.open_gate(*client.key)
    assert client.hear() is True
    assert client.do("echo") is True
    counters = hand.counters()
    assert (counters["dropped"], counters["waiting"]) == (0, 0)
    assert hand.behind() == []


@pytest.mark.parametrize("firewall", KINDS[:2])
@pytest.mark.parametrize("hooks", [["PREROUTING"], ["POSTROUTING"], ["PREROUTING", "POSTROUTING"]])
def test_who_accepts_before_netmap_ends_no_connection(mesh_of, firewall, hooks):
    mesh = mesh_of(firewall)
    client, other = mesh.start(), mesh.new_client(51)
    hand = mesh.hands["b"]
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    assert client.do("echo") is True
    hand.tick(0)
    insert(mesh, *(f"ip6tables -t nat -I {hook} -j ACCEPT" for hook in hooks))
    assert client.do("echo") is True
    mesh.roam_to_b(other)
    hand.open_gate(*other.key)
    other.say("echo")
    if "PREROUTING" in hooks:  # what it says is dropped, for it would go to the node's PLAT
        mesh.wait_for_packets("b", 1)
    hand.tick(CHECK_S)
    for hook, chain in (("PREROUTING", "L3ROAMD_to_plat"), ("POSTROUTING", "L3ROAMD_from_plat")):
        targets = rules_at(mesh, f"ip6tables nat {hook}")
        assert all(each.startswith("L3ROAMD_") for each in targets[: targets.index(chain)])
    assert len(hand.notices()) == len(hooks)
    assert other.hear() is True
    assert client.do("echo") is True
    assert client.do("udp again") is True


def test_who_goes_before_us_again_and_again_is_left_there_and_status_says_so(mesh_of):
    mesh = mesh_of("xtables-legacy")
    mesh.start()
    hand, place = mesh.hands["b"], "iptables mangle FORWARD"
    hand.tick(0)
    for turn in range(1, MOVES + 3):
        insert(mesh, f"iptables -t mangle -I FORWARD -m comment --comment turn{turn} -j ACCEPT")
        hand.tick(turn * CHECK_S)
        assert (rules_at(mesh, place).index("ACCEPT") > 0) == (turn <= MOVES), turn
    [sentence] = hand.behind()
    assert (
        sentence
        == f"iptables -t mangle FORWARD: `-m comment --comment turn{turn} -j ACCEPT` stands before our rules"
    )
    notices = hand.notices()
    assert len(notices) == MOVES + 1
    assert notices[-1] == (
        "iptables -t mangle FORWARD: others go before our rules again and again; ours stay behind"
    )
    for later in range(1, 1 + CHECKS_PER_MOVE):
        hand.tick((turn + later) * CHECK_S)
    assert rules_at(mesh, place).index("ACCEPT") > 0
    assert hand.behind() == []


@pytest.mark.parametrize("firewall", KINDS)
def test_connections_walk_where_there_is_one_plat_only_and_when_there_is_another(mesh_of, firewall):
    """With one there are no entries to be looked for, until there is another."""
    mesh = mesh_of(firewall)
    mesh.choose("b", "c")
    for name in ("a", "b", "c", "x"):
        mesh.hand(name)
    for name in "ab":
        mesh.hands[name].set_current_plat(plat("c"))
    clients = [mesh.new_client(50), mesh.new_client(51)]
    for turn in (1, 2):
        for client in clients:
            assert turn == 2 or client.do("tick") is True
            mesh.walk(client, "b", serial=turn)
            assert client.do("ticks 20") is True
        if turn == 2:  # the node turns to another
            mesh.choose("b", "x")
            mesh.hands["b"].set_current_plat(plat("x"))
            assert [client.do("echo") for client in clients] == [True, True]
            assert [client.do("ticks 20") for client in clients] == [True, True]
        for client in clients:
            mesh.walk(client, "a")
            assert client.do("ticks 20") is True


def test_a_restore_that_finds_others_jumps_than_it_looked_for_is_done_again(mesh_of):
    """Somebody removes our jump while we wait for the lock."""
    mesh = mesh_of("xtables-legacy")
    mesh.start()
    hand, b, variables = mesh.hands["b"], mesh.machine["b"], mesh.node["b"].variables
    hand.tick(0)
    insert(mesh, "iptables -t mangle -I FORWARD -j ACCEPT")
    script = "echo taken; sleep 2; XTABLES_LOCKFILE=/dev/null iptables -t mangle -D FORWARD -j L3ROAMD_gate"
    locking = b.start(["flock", "/run/xtables.lock", "sh", "-c", script], **variables)
    assert locking.stdout.readline() == "taken\n"
    hand.tick(CHECK_S)  # waits
    assert locking.wait() == 0
    targets = rules_at(mesh, "iptables mangle FORWARD")
    assert targets.count("L3ROAMD_gate") == 1
    assert targets.index("L3ROAMD_gate") < targets.index("ACCEPT")
    locking = b.start(["flock", "/run/xtables.lock", "sh", "-c", script], **variables)
    assert locking.stdout.readline() == "taken\n"
    hand.tear_down()
    assert locking.wait() == 0
    wait_until(lambda: "L3ROAMD" not in b.output("iptables-save", **variables), "nothing of ours")
