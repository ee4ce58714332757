# SPDX-License-Identifier: ISC
"""The rules of a roam with real packets: what a client has open walks along."""

import re
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from node_lab import BESIDE, FIREWALLS, NEEDS
from rules_lab import NEXT_NODE, SERVER, clat, plat, walk_and_return
from waiting import wait_until

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.rules import CHECK_S

pytestmark = NEEDS


@pytest.fixture(params=["nft", "xtables-legacy"])
def mesh(mesh_of, request):
    """One of each kind of rules: what the other iptables makes of ours, the walk and test_l3roamd_tables.py tell."""
    return mesh_of(request.param)


@pytest.fixture(params=["nft", "xtables-legacy"])
def mixed_mesh(mesh_of, request, micropython):
    """The same, with one clatnode and both platnodes on MicroPython."""
    return mesh_of(request.param, dict.fromkeys("bcx", micropython.program))


@pytest.mark.parametrize("firewall", [*FIREWALLS, BESIDE])
def test_open_connections_walk_to_another_node_and_back(mesh_of, firewall):
    walk_and_return(mesh_of(firewall))


def test_open_connections_walk_among_both_pythons(mixed_mesh):
    walk_and_return(mixed_mesh)


# what fw3 sets up on a router of a mesh, with the zones of Gluon's roles: what nobody lets through is refused
FW3 = """
    for program in iptables ip6tables; do
        $program -P FORWARD DROP; $program -P INPUT DROP
        for zone in client clat plat wan mesh; do $program -N zone_$zone; done
        $program -A INPUT -i lo -j ACCEPT
        for chain in INPUT FORWARD; do
            $program -A $chain -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        done
        $program -A INPUT -i br-client -j ACCEPT; $program -A INPUT -i mesh -j ACCEPT
        $program -A FORWARD -i br-client -j zone_client; $program -A zone_client -o clat -j ACCEPT
        $program -A FORWARD -i clat -j zone_clat; $program -A zone_clat -o br-client -j ACCEPT
        $program -A zone_clat -o mesh -j ACCEPT
        $program -A FORWARD -i mesh -j zone_mesh; $program -A zone_mesh -o clat -j ACCEPT
        $program -A zone_mesh -o plat -j ACCEPT
        $program -A FORWARD -i plat -j zone_plat; $program -A zone_plat -o wan -j ACCEPT
        $program -A zone_plat -o mesh -j ACCEPT
        $program -A FORWARD -i wan -j zone_wan
        $program -A FORWARD -j REJECT; $program -A INPUT -j REJECT
        $program -t mangle -A FORWARD -o clat -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
        $program -t raw -A PREROUTING -i lo -j CT --notrack
    done
    iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
"""


@pytest.mark.parametrize("firewall", ["xtables-legacy", BESIDE])
def test_open_connections_walk_among_the_rules_of_fw3(mesh_of, firewall):
    mesh = mesh_of(firewall)
    for name, machine in mesh.machine.items():
        if name in mesh.node:
            machine.run(["sh", "-e", "-c", FW3], **mesh.node[name].variables)
    walk_and_return(mesh)


def test_a_client_that_is_at_home_again_is_answered_there_though_its_mapping_stays(mesh):
    client = mesh.start()
    client.attach("b")
    mesh.roam_to_b(client, serial=1)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    client.attach("a")  # the platnode's daemon hears nothing of it
    mesh.hands["a"].use_plat(client.home(), plat("c"), 300)
    mesh.hands["a"].open_gate(*client.key)
    assert client.do("fresh") is True
    client.attach("b")  # and what it began there comes along
    mesh.roam_to_b(client, serial=2)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("again") is True
    assert client.do("echo") is True


def test_a_mark_of_somebody_else_stays(mesh_of):
    mesh = mesh_of("nft")
    client = mesh.start()
    b = mesh.machine["b"]
    b.run(
        "nft -f -",
        input="table ip other { chain before { type filter hook prerouting priority 0; "
        'iifname "br-client" meta mark set 0x1234; }; chain after { type filter hook forward priority 200; '
        'oifname "clat" meta mark 0x1234 counter name good; oifname "clat" meta mark != 0x1234 counter name bad; }; '
        "counter good { }; counter bad { }; }",
    )
    mesh.walk(client, "b")
    assert client.do("echo") is True
    assert "packets 0" in b.output("nft list counter ip other bad")
    assert "packets 0" not in b.output("nft list counter ip other good")


@pytest.mark.parametrize("is_own", [False, True])
def test_path_mtu_is_learnt_by_a_client_and_a_server_after_a_roam(mesh, is_own):
    """A mesh router's Packet Too Big quotes a packet with the addresses that it has in the mesh, a node's own too."""
    client = mesh.start()
    mesh.roam_to_b(client)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    to_b, to_c = f"{IPv6Address(clat('b', '0.0.0.0'))}/96", f"{IPv6Address(plat('c'))}/96"
    if is_own:
        mesh.machine["b"].run(f"ip -6 route add {to_c} via fd00:2::2 mtu 1300")
        mesh.machine["c"].run(f"ip -6 route add {to_b} via fd00:3::2 mtu 1300")
    else:
        mesh.machine["mid"].run(f"ip -6 route change {to_b} via fd00:2::1 mtu 1300")
        mesh.machine["mid"].run(f"ip -6 route change {to_c} via fd00:3::1 mtu 1300")
    assert client.do("mtu") == 90  # EMSGSIZE
    assert "mtu 1280" in client.machine.output(f"ip route get {SERVER}")
    client.do("big")
    assert mesh.server.stdout.readline() == "big 90\n"
    assert "mtu 1280" in mesh.machine["server"].output("ip route get 203.0.113.1")


def test_a_traceroute_shows_who_is_on_the_way_and_errors_come_from_whom_they_are(mesh):
    """Also of a client whose PLAT is another than the node's."""
    client = mesh.start()
    at_home = client.do("trace")
    assert at_home[0] == NEXT_NODE
    assert at_home[-1] == SERVER
    assert len(at_home) >= 4, at_home
    assert SERVER not in at_home[:-1]
    mesh.roam_to_b(client)
    mesh.hands["b"].open_gate(*client.key)
    client.say("trace")
    abroad = mesh.hear_with_errors("b", client)
    assert abroad == at_home
    client.say("refused")
    assert "refused" in mesh.hear_with_errors("b", client)
    # an error of a router on the internet: it is the router's
    mesh.machine["c"].run(f"ip route add unreachable {SERVER}")
    client.say("hop")
    assert mesh.hear_with_errors("b", client) not in (SERVER, None)
    mesh.machine["c"].run(f"ip route del unreachable {SERVER}")
    assert client.do("echo") is True


def test_two_clients_roam_at_once(mesh):
    clients = [mesh.start(), mesh.new_client(51)]
    for client in clients:
        assert client.do("tick") is True
        client.attach("b")
        client.say("echo")
    for client in clients:
        wait_until(
            lambda: mesh.hands["b"].read_arrivals() or mesh.hands["b"].counters()["waiting"] >= 2, "packets"
        )
        mesh.hands["b"].use_plat(client.home("b"), plat("c"), 300)
    mappings = [Mapping(client.home(), client.home("b"), None, 300, 7) for client in clients]
    assert mesh.hands["c"].map_clients(mappings) == [None, None]
    for client in clients:
        mesh.hands["b"].open_gate(*client.key)
        assert client.hear() is True
        assert client.do("ticks 30") is True
    found = {each.home: each for each in mesh.hands["c"].mappings()}
    assert {home: (each.at, each.serial) for home, each in found.items()} == {
        client.home(): (client.home("b"), 7) for client in clients
    }
    assert all(200 <= each.lease_s <= 300 for each in found.values())


def test_the_current_plat_may_change_and_a_lost_one_goes_with_its_rules(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    mesh.choose("a", "x")
    mesh.wait_for_packets("a", 1)  # before the daemon hears of it; nothing comes back, so they get ever fewer
    mesh.hands["a"].set_current_plat(plat("x"))
    assert client.do("echo") is True
    assert client.do("ticks 30") is True
    mesh.choose("a", "c")
    mesh.hands["a"].set_current_plat(plat("c"))
    assert client.do("echo") is True
    mesh.choose("a", "x")
    mesh.hands["a"].drop_plat(plat("c"))
    mesh.hands["a"].set_current_plat(plat("x"))
    mesh.hands["a"].use_plat(client.home(), plat("x"), 300)
    assert client.do("udp new") is True  # by the other PLAT


def test_connections_live_when_the_node_turns_to_the_plat_of_a_client_before_the_daemon_hears_of_it(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    for turn in range(3):
        for to in "xc":  # c is the client's own
            mesh.choose("a", to)
            client.say("echo")
            mesh.wait_for_packets("a", 1)
            mesh.hands["a"].set_current_plat(plat(to))
            assert client.hear() is True, (turn, to)
            assert client.do("ticks 10") is True, (turn, to)


FLUSHES = {
    "nft": ["nft flush ruleset", "nft flush table ip6 l3roamd", "nft flush chain ip l3roamd passing"],
    "xtables": [
        "ip6tables -t nat -F",
        "ip6tables -t mangle -F; ip6tables -t mangle -X L3ROAMD_unheard_plat",
        "iptables -t mangle -F L3ROAMD_gate",
        "ipset flush",
        "for t in mangle nat; do for i in iptables ip6tables; do $i -t $t -F; $i -t $t -X; done; done; ipset destroy",
    ],
}


@pytest.mark.parametrize("firewall", ["nft", "xtables-legacy", BESIDE])
def test_rules_of_roams_that_somebody_flushed_come_back(mesh_of, firewall):
    mesh = mesh_of(firewall)
    client = mesh.start()
    mesh.roam_to_b(client)
    hand = mesh.hands["b"]
    hand.open_gate(*client.key)
    if mesh.node["b"].rules == "xtables":  # in nftables an element, which comes back when the client does
        hand.refuse(b"\2stray", client.key[1][:3] + b"\x99")
    assert client.do("echo") is True
    b, node, now_s = mesh.machine["b"], mesh.node["b"], 0
    hand.tick(now_s)
    before = rules_of(b, node)
    for flush in FLUSHES[node.rules]:
        b.run(["sh", "-c", flush], **node.variables)
        assert rules_of(b, node) != before, flush
        now_s += CHECK_S
        hand.tick(now_s)
        assert rules_of(b, node) == before, flush
        assert client.do("udp again") is True
    now_s += CHECK_S
    hand.tick(now_s)
    assert rules_of(b, node) == before
    # an open one may have ended: what it sent meanwhile, if only an ACK, went to the node's PLAT
    assert client.do("fresh") is True


def rules_of(machine, node):
    """What a node has of roams' rules and sets, without what counts and what runs out."""
    saves = (
        "{ iptables-save; ip6tables-save; } | grep L3ROAMD; ipset list | grep -v -e ^Size -e ^Ref -e ^Head; "
    )
    saves += "nft list tables | grep l3roamd | while read -r table; do nft -s list $table; done"
    said = machine.output(["sh", "-c", saves], **node.variables)
    return sorted(re.split(r"[\s,]+", re.sub(r"(timeout|expires) \w+", "", said)))


def test_a_platnode_that_has_lost_its_rules_says_so(mesh_of):
    for firewall, flush in (("nft", "nft flush ruleset"), ("xtables-legacy", "ipset destroy")):
        mesh = mesh_of(firewall)
        client = mesh.start()
        mesh.roam_to_b(client)
        c = mesh.hands["c"]
        assert c.tick(0) is False
        assert c.tick(CHECK_S) is False
        [mapping] = c.mappings()
        mesh.machine["c"].run(flush)
        assert c.tick(2 * CHECK_S) is True
        assert c.mappings() == []
        assert c.map_clients([mapping]) == [None]
        assert c.tick(3 * CHECK_S) is False


@pytest.mark.parametrize("lock_s", [2, 12])
def test_whoever_holds_the_lock_of_iptables_makes_nobody_wait(mesh_of, lock_s):
    mesh = mesh_of("xtables-legacy")
    client, other = mesh.start(), mesh.new_client(51)
    hand, b, node = mesh.hands["b"], mesh.machine["b"], mesh.node["b"]
    mesh.roam_to_b(client)
    hand.open_gate(*client.key)
    locking = b.start(["flock", "/run/xtables.lock", "sh", "-c", f"echo taken; sleep {lock_s}"])
    assert locking.stdout.readline() == "taken\n"
    # one whose PLAT is known comes, and another's is new
    other.attach("b")
    other.say("echo")
    mesh.await_arrival("b", other)
    begun_s = time.monotonic()
    hand.now("use_plat", clat("b", "10.126.0.77"), plat("x")[:8] + bytes(8), 300)
    hand.now("open_gate", b"\2stray", IPv4Address("10.126.0.77").packed)
    hand.now("use_plat", other.home("b"), plat("c"), 300)
    moved = Mapping(other.home(), other.home("b"), None, 300, 9)
    assert mesh.hands["c"].map_clients([moved]) == [None]
    hand.now("open_gate", *other.key)
    assert other.hear() is True
    assert client.do("echo") is True
    assert hand.now("opened") == {client.key, other.key}, (
        "who is let in before the rules are there goes wrong"
    )
    assert time.monotonic() - begun_s < lock_s
    assert locking.poll() is None
    hand.opened()  # waits
    assert locking.wait() == 0
    assert (b"\2stray", IPv4Address("10.126.0.77").packed) in hand.opened()
    jumps = b.output(["sh", "-c", "iptables-save; ip6tables-save"], **node.variables)
    for chain in ("L3ROAMD_gate", "L3ROAMD_to_plat", "L3ROAMD_from_plat", "L3ROAMD_unheard_plat"):
        assert jumps.count(f"-j {chain}\n") == 1, chain
    assert client.do("echo") is True


def test_a_killed_daemon_is_taken_over_and_nobody_notices(mesh):
    client = mesh.start()
    assert client.do("tick") is True
    mesh.roam_to_b(client, serial=99)
    mesh.hands["b"].open_gate(*client.key)
    assert client.do("echo") is True
    for name in "bc":
        mesh.hands[name].kill()
        assert client.do("echo") is True  # with nobody there
        assert client.do("udp alone") is True
        hand = mesh.hand(name)
        assert client.do("echo") is True
        hand.set_up()  # again: nothing more
    assert client.do("ticks 20") is True
    assert mesh.hands["b"].opened() == {client.key}
    [mapping] = mesh.hands["c"].mappings()
    assert (mapping.home, mapping.at, mapping.serial) == (client.home(), client.home("b"), 99)
    assert 200 <= mapping.lease_s <= 300
    # and it goes on from there
    mesh.walk(client, "a")
    assert list(mesh.hands["c"].mappings()) == []


def test_a_dead_daemon_keeps_nobody_out(mesh):
    client = mesh.start()
    mesh.hands["a"].close_gate(*client.key)
    client.say("echo")
    mesh.await_arrival("a", client)
    mesh.hands["a"].kill()
    assert client.hear() is True  # packets that waited are lost, and their senders send them again
    mesh.hand("a")
    client.say("echo")
    mesh.await_arrival("a", client)
    mesh.hands["a"].open_gate(*client.key)
    assert client.hear() is True


def test_the_kernel_ends_a_roam_when_the_lease_is_over(mesh):
    client = mesh.start()
    listing = "nft list ruleset; ipset list"

    def is_gone(name, place):
        listed = mesh.machine[name].output(["sh", "-c", listing]).splitlines()
        # the exit counts a client's flows by its home, roamed or not
        return not any(str(IPv6Address(place)) in line for line in listed if "ct count" not in line)

    mesh.roam_to_b(client, lease_s=5)
    assert not is_gone("b", client.home("b"))
    assert not is_gone("c", client.home())
    mesh.hands["b"].open_gate(*client.key)
    for name in "bc":
        mesh.hands[name].kill()
    wait_until(lambda: is_gone("b", client.home("b")) and is_gone("c", client.home()), "end of the lease")
    # a roam that finds nothing of the old one any more is none the worse for it
    hand = mesh.hand("c")
    again = Mapping(client.home(), client.home("b"), client.home("b"), 300, 2)
    assert hand.map_clients([again]) == [None]
    hand.unmap_client(client.home(), client.home("b"))
    hand.unmap_client(client.home(), client.home("b"))
    clat_hand = mesh.hand("b")
    clat_hand.leave_plat(client.home("b"), plat("c"))
    clat_hand.use_plat(client.home("b"), plat("c"), 300)
