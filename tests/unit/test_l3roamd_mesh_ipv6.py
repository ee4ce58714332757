# SPDX-License-Identifier: ISC
"""IPv6 addresses of clients: learnt from packets, asked for, refused to whoever only says that they are its."""

import pytest
from l3roamd_mesh import CLIENT_IPV6, Air, Client, Mesh, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events

ADDRESS, OTHER = CLIENT_IPV6[:15] + b"\1", CLIENT_IPV6[:15] + b"\2"
FOREIGN = bytes.fromhex("20010db8000000000000000000000001")


def make(mesh, number, ipv6=ADDRESS):
    mac = bytes((2, 0xAA, 0, 0, 0, number))
    client = mesh.clients[mac] = Client(mac, None, mesh.nodes[0], ipv6=ipv6)
    return client


def send(mesh, client, address=ADDRESS):
    """A packet comes to the gate, if the gate does not know where it comes from."""
    if (client.mac, address) not in client.node.kernel.opened:
        client.node.handle(events.ClientSeen(client.mac, address))


def has(mesh, client, address=ADDRESS):
    kernel = mesh.nodes[0].kernel
    assert ((client.mac, address) in kernel.routes) == ((client.mac, address) in kernel.opened)
    return (client.mac, address) in kernel.routes


def converged(mesh, number, ipv6=ADDRESS):
    client = make(mesh, number, ipv6)
    send(mesh, client, ipv6)
    mesh.run(0.5)
    assert has(mesh, client, ipv6)
    return client


def test_an_address_is_routed_when_its_client_has_answered_and_not_before():
    mesh = Mesh()
    client = make(mesh, 9)
    client.answer_s = 0.02
    send(mesh, client)
    mesh.run(0.015)
    assert not has(mesh, client)
    mesh.run(0.1)
    assert has(mesh, client)


def test_an_address_that_did_not_answer_while_it_was_tentative_is_asked_again_with_its_next_packet():
    mesh = Mesh()
    client = make(mesh, 9)
    client.is_asleep = True
    send(mesh, client)
    mesh.run(0.2)
    client.is_asleep = False
    send(mesh, client)
    mesh.run(0.1)
    assert has(mesh, client)


def test_of_a_client_that_answered_every_new_address_is_routed_at_once():
    mesh = Mesh()
    client = converged(mesh, 9)
    send(mesh, client, OTHER)
    assert has(mesh, client, OTHER)


def test_an_address_that_its_owner_answers_for_is_refused_to_another():
    mesh = Mesh()
    owner, thief = converged(mesh, 9), converged(mesh, 8, OTHER)
    a = mesh.nodes[0]
    send(mesh, thief)
    mesh.run(0.2)
    assert not has(mesh, thief)
    mesh.run(2)
    assert do.RefuseAtGate(thief.mac, ADDRESS) in a.actions
    assert (has(mesh, owner), has(mesh, thief)) == (True, False)
    assert a.core.counters["conflicts"] == 1
    assert not a.core.node.verifications


@pytest.mark.parametrize("is_asleep", [True, False])
def test_an_address_goes_to_another_when_its_owner_is_silent_or_has_another(is_asleep):
    mesh = Mesh()
    owner, heir = converged(mesh, 9), converged(mesh, 8, OTHER)
    owner.is_asleep = is_asleep
    owner.ipv6 = FOREIGN
    send(mesh, heir)
    mesh.run(0.6)
    assert not has(mesh, heir)
    mesh.run(0.3)
    assert (has(mesh, owner), has(mesh, heir)) == (False, True)
    assert mesh.nodes[0].core.node.owner_of[ADDRESS] == heir.mac


def test_a_source_outside_the_clients_prefixes_is_refused():
    mesh = Mesh()
    client = converged(mesh, 9)
    send(mesh, client, FOREIGN)
    assert do.RefuseAtGate(client.mac, FOREIGN) in mesh.nodes[0].actions
    assert mesh.nodes[0].core.counters["foreign_addresses"] == 1
    assert FOREIGN not in mesh.nodes[0].core.node.owner_of


@pytest.mark.parametrize("answers_after", [0, 1, 2, None])
def test_a_failed_neighbour_is_asked_three_times_before_its_route_goes(answers_after):
    mesh = Mesh()
    client = converged(mesh, 9)
    a = mesh.nodes[0]
    mesh.run(10)  # it is known by then what its answers take
    client.is_asleep = answers_after != 0
    a.actions.clear()
    a.handle(events.AddressGone(client.mac, ADDRESS, is_silent=True))
    for second in range(1, 4):
        mesh.run(0.99 if second == 1 else 1.0)
        assert has(mesh, client)
        client.is_asleep = answers_after is None or answers_after > second
    mesh.run(2)
    assert has(mesh, client) == (answers_after is not None)
    asked = a.actions.count(do.SolicitClient(client.mac, ADDRESS))
    assert asked == (3 if answers_after is None else answers_after + 1)
    client.is_asleep = False
    send(mesh, client)
    mesh.run(0.1)
    assert has(mesh, client), "it is learnt anew"


def take(mesh, client, address=ADDRESS):
    """Somebody says at client's node that its address is another MAC's."""
    mesh.nodes[0].handle(events.NeighbourTaken(address))
    return (client.mac, address) in mesh.nodes[0].kernel.pinned


def test_a_neighbour_stays_its_owner_s_while_somebody_says_otherwise():
    mesh = Mesh()
    owner = converged(mesh, 9)
    assert take(mesh, owner)
    mesh.run(400)
    assert has(mesh, owner)
    assert take(mesh, owner)
    mesh.run(400)
    assert (owner.mac, ADDRESS) in mesh.nodes[0].kernel.pinned
    mesh.run(300)
    assert not mesh.nodes[0].kernel.pinned, "it may be found silent again"
    assert has(mesh, owner)


def test_a_pinned_neighbour_that_does_not_answer_has_no_route_for_long():
    """The kernel asks for it no longer, so we do."""
    mesh = Mesh()
    owner = converged(mesh, 9)
    owner.is_asleep = True
    assert take(mesh, owner)
    mesh.run(4)
    assert not has(mesh, owner)
    assert not mesh.nodes[0].kernel.pinned
    mesh.run(700)
    assert not take(mesh, owner), "it is nobody's now"


def test_an_address_that_is_taken_goes_to_another_when_its_owner_is_silent():
    mesh = Mesh()
    owner, other = converged(mesh, 9), converged(mesh, 8, OTHER)
    owner.is_asleep = True
    take(mesh, owner)
    other.others = (ADDRESS,)
    send(mesh, other)
    mesh.run(4)
    assert (has(mesh, owner), has(mesh, other)) == (False, True)


@pytest.mark.parametrize("is_here", [True, False])
def test_a_client_whose_address_is_silent_is_asked_whether_it_is_here(is_here):
    """All CLAIMs of the node that has it were lost: both have it, and babel shows neither the other."""
    mesh = Mesh()
    client = make_client(9, 1)
    client.ipv6 = ADDRESS
    a, b = mesh.nodes[:2]
    mesh.join(client, a)
    mesh.run(2)
    send(mesh, client)
    mesh.run(10)
    assert has(mesh, client)
    if is_here:
        client.ipv6 = None
    else:
        mesh.split(1)
        client.node = b
        b.handle(events.ClientSeen(client.mac, ADDRESS))
        mesh.run(10)
        mesh.split()
        assert mesh.serving(client) == [a, b]
    a.handle(events.AddressGone(client.mac, ADDRESS, is_silent=True))
    mesh.run(30)
    assert mesh.serving(client) == [a if is_here else b]


def silenced(mesh, *addresses):
    """A client has these, and has just been found silent for all but the first."""
    client = converged(mesh, 9, addresses[0])
    a = mesh.nodes[0]
    client.others = addresses[1:]
    for address in addresses[1:]:
        send(mesh, client, address)
    mesh.run(30)
    client.others = ()
    for address in addresses[1:]:
        a.handle(events.AddressGone(client.mac, address, is_silent=True))
    mesh.run(3.5)
    assert a.kernel.routes == {(client.mac, addresses[0])}
    return client


def test_an_address_that_was_silent_is_tried_again_when_its_client_is_seen():
    mesh = Mesh()
    client, a = silenced(mesh, ADDRESS, OTHER), mesh.nodes[0]
    client.others = (OTHER,)
    mesh.run(5)
    assert not has(mesh, client, OTHER), "nothing says that the client is here"
    a.handle(events.ClientSeen(client.mac))
    mesh.run(0.1)
    assert has(mesh, client, OTHER)
    assert not a.core.node.clients[client.mac].presence.silent


def test_a_silent_address_is_tried_seldom_and_not_for_ever():
    mesh = Mesh()
    many = [CLIENT_IPV6[:15] + bytes((number,)) for number in range(1, 22)]
    client, a = silenced(mesh, *many), mesh.nodes[0]
    a.actions.clear()
    for _ in range(6000):
        a.handle(events.ClientSeen(client.mac))
        mesh.run(0.1)
    asked = [each.address for each in a.actions if isinstance(each, do.SolicitClient)]
    tried = [asked.count(address) for address in many[1:]]
    assert tried[:5] == [0] * 5, "the newest 15 are kept"
    assert set(tried[5:]) == {15}, "every 20 s of 300"
    assert not a.core.node.clients[client.mac].presence.silent


def test_a_silent_address_that_is_anothers_by_now_stays_the_other_s():
    mesh = Mesh()
    client, a = silenced(mesh, ADDRESS, OTHER), mesh.nodes[0]
    heir = converged(mesh, 8, OTHER)
    client.others = (OTHER,)
    a.handle(events.ClientSeen(client.mac))
    mesh.run(0.1)
    assert (has(mesh, heir, OTHER), has(mesh, client, OTHER)) == (True, False)


def test_a_client_that_makes_addresses_up_has_few_and_slowly():
    mesh = Mesh()
    client = converged(mesh, 9)
    a = mesh.nodes[0]
    a.actions.clear()
    for number in range(1000):
        send(mesh, client, CLIENT_IPV6[:14] + number.to_bytes(2, "big"))
        mesh.run(0.01)
    routed = sum(isinstance(action, do.AddRoute) for action in a.actions)
    assert 31 <= routed <= 35
    assert len(a.kernel.opened) == len(a.kernel.routes) == 32
    assert a.core.counters["addresses_too_fast"] >= 960


def test_with_a_client_all_goes():
    mesh = Mesh()
    client = converged(mesh, 9)
    send(mesh, client, OTHER)
    mesh.nodes[0].handle(events.AddressGone(client.mac, ADDRESS, is_silent=True))
    client.node = mesh.nodes[1]
    mesh.nodes[1].handle(events.ClientSeen(client.mac, ADDRESS))
    mesh.run(mesh.nodes[0].core.options.send_on_s + 1)
    a, b = (node.kernel for node in mesh.nodes[:2])
    assert not a.opened | a.routes
    assert not mesh.nodes[0].core.node.owner_of
    assert b.routes == b.opened == {(client.mac, ADDRESS), (client.mac, OTHER)}


@pytest.mark.parametrize("answer_s", [0.002, 0.05])
def test_a_client_that_had_no_lease_is_back_at_once_though_the_mesh_answers_before_it_does(answer_s):
    """The node that let it go a moment ago has no other sign that it is back, and the INFO says nothing of IPv4."""
    mesh = Mesh(air=Air(delay_s=0.0005))
    client = converged(mesh, 9)
    a, b = mesh.nodes[:2]
    client.node = b
    b.handle(events.ClientSeen(client.mac, ADDRESS))
    mesh.run(10)
    client.node, client.ipv4, client.answer_s = a, bytes((10, 1, 0, 9)), answer_s
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(1)
    assert (client.mac, client.ipv4) in a.kernel.opened
    mesh.run(10)
    assert mesh.serving(client) == [a]
    assert (client.mac, client.ipv4) in a.kernel.opened, "it answered when it was asked"


def test_a_client_that_was_told_of_and_does_not_answer_is_not_kept():
    mesh = Mesh(air=Air(delay_s=0.0005))
    client = converged(mesh, 9)
    a, b = mesh.nodes[:2]
    client.node = b
    send(mesh, client)
    mesh.run(1)
    client.node = a  # a packet of before, which comes late
    send(mesh, client)
    client.node = b
    mesh.run(60)
    assert (client.mac, ADDRESS) not in a.kernel.routes


def test_what_another_node_tells_is_older_than_what_was_heard_here():
    """A client is asked for its newest addresses, and has given the older ones up."""
    mesh = Mesh(air=Air(delay_s=0.0005))
    client = converged(mesh, 9)
    given_up = [CLIENT_IPV6[:14] + number.to_bytes(2, "big") for number in range(100, 105)]
    for address in given_up:
        send(mesh, client, address)
    b = client.node = mesh.nodes[1]
    send(mesh, client)
    mesh.run(5)
    assert b.core.node.clients[client.mac].addresses == [*given_up, ADDRESS]
    mesh.run(400)
    assert b.core.node.clients[client.mac].state.name == "served"
