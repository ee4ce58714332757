# SPDX-License-Identifier: ISC
"""Clients that translate themselves keep their PLAT as their node chooses another and as they walk, until it goes."""

from l3roamd_mesh import CLIENT_IPV6, PLAT_RANGE, Client, Mesh, Node, forge

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import former_of
from xlat464.node import node_prefix

OTHER = CLIENT_IPV6[:15] + b"\2"
MAC = bytes((2, 0xAA, 0, 0, 0, 9))
FAR = node_prefix(PLAT_RANGE, bytes((2, 9, 9, 9, 9, 9)))  # of no node that the mesh has


def two_exits(**options) -> Mesh:
    """Nodes 4 and 3 are exits; all nodes begin with 4."""
    return Mesh(platnodes=(4, 3), **options)


def joined(mesh: Mesh, number: int = 9, *others: bytes) -> Client:
    """A client that has no IPv4 address at all is at node 1."""
    address = CLIENT_IPV6[:15] + bytes((number,))
    mac = MAC[:5] + bytes((number,))
    client = mesh.clients[mac] = Client(mac, None, mesh.nodes[0], ipv6=address, others=others)
    for each in (address, *others):
        mesh.nodes[0].handle(events.ClientSeen(client.mac, each))
    mesh.run(1)
    return client


def walk(mesh: Mesh, client: Client, node: Node) -> None:
    client.node = node
    node.handle(events.ClientSeen(client.mac, client.ipv6))
    mesh.run(3)
    assert (client.mac, client.ipv6) in node.kernel.opened


def plat(client: Client, address: bytes | None = None) -> bytes:
    """Where what it sends to pref64 goes to."""
    return client.node.kernel.own_plats.get(address or client.ipv6, client.node.kernel.current)


def test_who_is_there_keeps_its_plat_when_the_node_chooses_another_and_newcomers_have_that():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client = joined(mesh, 9, OTHER)
    a = mesh.nodes[0]
    assert not a.kernel.own_plats  # the node's PLAT needs no entry
    a.handle(events.PlatChosen(x))
    assert (plat(client), plat(client, OTHER)) == (c, c)
    kept = [each for each in a.actions if isinstance(each, do.UsePlats | do.SetCurrentPlat)]
    assert isinstance(kept[-2], do.UsePlats), "no packet goes elsewhere in between"
    newcomer = joined(mesh, 8)
    assert plat(newcomer) == x
    a.handle(events.PlatChosen(c))
    assert (plat(client), plat(newcomer)) == (c, x)


def test_nobody_is_kept_at_a_plat_that_is_lost_as_another_is_chosen():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client, a = joined(mesh), mesh.nodes[0]
    a.actions.clear()
    a.handle(events.PlatChosen(x, c))
    assert plat(client) == x
    assert not any(isinstance(each, do.UsePlats) for each in a.actions)
    assert [each.plat for each in a.actions if isinstance(each, do.SetCurrentPlat)] == [x]
    assert do.DropPlat(c) in a.actions
    assert c in a.core.node.lost_plats


def test_an_address_that_is_learnt_later_goes_where_its_client_is():
    mesh = two_exits()
    client = joined(mesh)
    client.others = (OTHER,)
    mesh.nodes[0].handle(events.PlatChosen(mesh.nodes[2].plat))
    mesh.nodes[0].handle(events.ClientSeen(client.mac, OTHER))
    mesh.run(1)
    assert plat(client, OTHER) == mesh.nodes[3].plat


def test_a_client_takes_its_plat_along_and_back():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client = joined(mesh)
    a, b = mesh.nodes[:2]
    b.handle(events.PlatChosen(x))
    b.actions.clear()
    walk(mesh, client, b)
    assert plat(client) == c
    use, let_in = do.UsePlats((client.ipv6,), c), do.OpenGate(client.mac, client.ipv6)
    assert b.actions.index(use) < b.actions.index(let_in)
    walk(mesh, client, a)
    assert (plat(client), a.kernel.own_plats, b.kernel.own_plats) == (c, {}, {})
    a.handle(events.PlatChosen(x))
    walk(mesh, client, b)
    walk(mesh, client, mesh.nodes[2])
    assert plat(client) == c
    assert not any(node.kernel.own_plats for node in (a, b))


def test_nobody_asks_a_platnode_for_a_client_that_has_no_ipv4():
    mesh = two_exits()
    client = joined(mesh)
    mesh.overheard.clear()
    walk(mesh, client, mesh.nodes[1])
    kinds = {type(wire.decode(datagram.payload)[1]) for _, datagram in mesh.overheard}
    assert kinds == {wire.Claim, wire.Info, wire.Ack}


def test_a_client_with_a_lease_as_well_has_one_plat_for_each_use():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client = joined(mesh)
    a = mesh.nodes[0]
    a.handle(events.PlatChosen(x))
    client.ipv4 = bytes((10, 1, 0, 9))
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 3600))
    mesh.run(2)
    assert (mesh.path(client)[0], plat(client)) == (x, c)
    mesh.move(client, mesh.nodes[1])
    walk(mesh, client, mesh.nodes[1])
    assert (mesh.path(client)[0], plat(client)) == (x, c)
    client.node.handle(events.LeaseEnded(client.mac, client.ipv4))
    mesh.run(1)
    assert plat(client) == c


def test_all_move_at_once_when_their_plat_is_lost():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    clients = [joined(mesh, 9), joined(mesh, 8)]
    a, b = mesh.nodes[:2]
    for node in (a, b):
        node.handle(events.PlatChosen(x))
    walk(mesh, clients[1], b)
    for node in (a, b):
        node.handle(events.PlatLost(c))
        assert not node.kernel.own_plats
    assert [plat(client) for client in clients] == [x, x]
    walk(mesh, clients[0], b)
    assert plat(clients[0]) == x


def test_a_plat_that_is_lost_here_is_not_brought_by_a_client_from_a_node_that_has_not_noticed():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    b = mesh.nodes[1]
    client, other = joined(mesh, 9), joined(mesh, 8)
    b.handle(events.PlatChosen(x))
    b.handle(events.PlatLost(c))
    walk(mesh, client, b)
    assert (plat(client), b.kernel.own_plats) == (x, {})
    b.handle(events.PlatsTold(frozenset([c, x]), frozenset()))
    walk(mesh, other, b)
    assert plat(other) == c
    b.handle(events.PlatsTold(frozenset([x]), frozenset([c])))
    assert plat(other) == x


def test_of_a_plat_that_a_client_brings_the_route_is_looked_for():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    b = mesh.nodes[1]
    client = joined(mesh)
    b.handle(events.PlatChosen(x))
    mesh.nodes[3].is_gone = True
    walk(mesh, client, b)
    assert (plat(client), b.kernel.own_plats) == (x, {})
    assert b.core.counters["plats_unrouted"] == 1
    mesh.nodes[3].is_gone = False
    walk(mesh, client, mesh.nodes[0])
    assert c not in b.core.node.lost_plats, "nobody would say that it is back"


def test_a_plat_that_is_lost_while_a_client_that_had_it_is_claimed_is_not_taken_up_again():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    a, b = mesh.nodes[:2]
    client = joined(mesh)
    walk(mesh, client, b)
    a.handle(events.PlatChosen(x))
    b.is_up = False
    client.node = a
    a.handle(events.ClientSeen(client.mac, client.ipv6))
    assert former_of(a.core.node.clients[client.mac]).own_plat == c
    a.handle(events.PlatLost(c))
    assert former_of(a.core.node.clients[client.mac]).own_plat is None
    a.handle(events.PlatsTold(frozenset([x]), frozenset()))
    mesh.run(3)
    assert (plat(client), a.kernel.own_plats) == (x, {})


def test_a_plat_that_only_such_clients_use_is_looked_after():
    mesh = two_exits()
    joined(mesh)
    a, x = mesh.nodes[0], mesh.nodes[2].plat
    a.handle(events.PlatChosen(x))
    mesh.nodes[3].is_gone = True
    a.handle(events.PlatsTold(frozenset([x]), frozenset()))
    mesh.run(3)
    assert a.kernel.own_plats == {}


def test_a_restart_goes_on_with_what_the_kernel_has():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client = joined(mesh)
    a = mesh.nodes[0]
    a.handle(events.PlatChosen(x))
    a.kernel.own_plats[OTHER] = c  # of somebody who left
    a.restart(1.0, a.core.snapshot(a.now_s))
    mesh.run(2)
    assert a.kernel.own_plats == {client.ipv6: c}
    mesh.nodes[1].handle(events.PlatChosen(x))
    walk(mesh, client, mesh.nodes[1])
    assert plat(client) == c


def test_a_restart_keeps_what_the_kernel_has_of_a_client_that_has_to_be_asked_for():
    mesh = two_exits()
    c, x = mesh.nodes[3].plat, mesh.nodes[2].plat
    client = joined(mesh)
    a = mesh.nodes[0]
    client.ipv4 = bytes((10, 1, 0, 9))
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 3600))
    mesh.run(2)
    a.handle(events.PlatChosen(x))
    saved = a.core.snapshot(a.now_s)
    a.kernel.opened.discard((client.mac, client.ipv4))
    a.restart(1.0, saved)
    mesh.run(1.1)
    assert former_of(a.core.node.clients[client.mac]) is not None
    mesh.run(5)
    a.handle(events.ClientSeen(client.mac, client.ipv6))
    mesh.run(5)
    assert former_of(a.core.node.clients[client.mac]) is None
    assert a.core.node.clients[client.mac].own_plat == c
    assert plat(client) == c


def test_what_info_says_of_no_plat_of_the_domain_is_worth_nothing():
    mesh = two_exits()
    client = joined(mesh)
    a, b = mesh.nodes[:2]
    for wrong in (FAR[:15] + b"\1", bytes(16), CLIENT_IPV6):
        client.node = b
        b.handle(events.ClientSeen(client.mac, client.ipv6))
        nonce = b.core.node.clients[client.mac].search.claim.nonce
        forge(b, wire.Info(client.mac, (client.ipv6,), FAR, 0, None, nonce, wrong), a.core.options.address)
        assert not b.kernel.own_plats
        b.core.node.clients.pop(client.mac)
        b.core.node.owner_of.pop(client.ipv6, None)
    assert b.core.counters["infos_bad_plat"] == 3


def test_nodes_without_a_prefix_for_it_say_and_do_nothing_of_it():
    mesh = two_exits(pref64=None)
    client = joined(mesh)
    a, b = mesh.nodes[:2]
    a.handle(events.PlatChosen(mesh.nodes[2].plat))
    walk(mesh, client, b)
    assert not a.kernel.own_plats | b.kernel.own_plats
    infos = [
        body for _, each in mesh.overheard if isinstance(body := wire.decode(each.payload)[1], wire.Info)
    ]
    assert infos
    assert {info.own_plat for info in infos} == {None}


def test_a_node_of_version_0_is_not_told_of_it():
    mesh = two_exits()
    joined(mesh)
    said = forge(
        mesh.nodes[0], wire.Claim(MAC), sender=bytes.fromhex("fd" + "00" * 14 + "05"), extended=False
    )
    mesh.nodes[0].handle(events.ClientGone(MAC))
    mesh.run(1)
    payloads = [each.payload for each in said + mesh.nodes[0].actions if isinstance(each, do.Send)]
    infos = [body for each in payloads if isinstance(body := wire.decode(each)[1], wire.Info)]
    assert infos
    assert {info.own_plat for info in infos} == {None}
