# SPDX-License-Identifier: ISC
"""Our netlink sockets where the kernel has more to say than fits: the next request is answered all the same."""

import sys
import textwrap

from node_lab import NEEDS, REPOSITORY
from waiting import wait_until

pytestmark = NEEDS

# flows of one client to many ports, as its entries in connection tracking
FLOWS = """
    import os, socket
    from l3roamd_py.core.mapping import Mapping
    from l3roamd_py.netfilter.xtables import conntrack
    from l3roamd_py.netfilter.choice import choose_rules
    from runtime.netlink import attributes

    PLAT = bytes.fromhex("fddd13371338020000000003") + bytes(4)
    SERVER = PLAT[:12] + bytes((198, 51, 100, 2))

    def client(node, last):
        return bytes.fromhex("fddd133713370200000000%02x" % node) + bytes((10, 126, 0, last))

    def flow(source, number):
        ports = {1: b"\\x11", 2: (1024 + number).to_bytes(2, "big"), 3: (53).to_bytes(2, "big")}
        ports = conntrack.make_protocol(ports)
        parts = {}
        for kind, one, other, way in ((1, source, SERVER, ports), (2, SERVER, source, conntrack.turned(ports))):
            parts[kind] = conntrack.make_tuple(kind, one, other, way)[4:]
        parts[3], parts[7] = (0x8 | 0x2).to_bytes(4, "big"), (600).to_bytes(4, "big")
        return conntrack.Entry(parts)

    def begin(source, count):
        netfilter = conntrack.NetfilterSocket()
        for start in range(0, count, 50):
            flows = [flow(source, number) for number in range(start, min(start + 50, count))]
            netfilter.ask(*[conntrack.create_entry(each, source) for each in flows])
        netfilter.close()

    def sources(table):
        found = {}
        for each in table.entries([SERVER], may_be_destination=True):
            source = each.ends(1)[0]
            found[source] = found.get(source, 0) + 1
        return found
"""


def run(machine, program):
    words = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", textwrap.dedent(program)]
    return machine.output(words).split()


def test_a_client_with_thousands_of_flows_moves_and_so_does_the_next(machines):
    program = """
        begin(client(1, 1), 12000)
        begin(client(1, 2), 3)
        rules = choose_rules("xtables")[1]("plat", PLAT)
        rules.set_up()
        table = conntrack.Conntrack()
        for round in range(3):  # the first has the second's entries as well
            for last in (1, 2):
                home, at = client(1, last), client(2 + round, last)
                was = client(1 + round, last)
                (error,) = rules.map_clients([Mapping(home, at, was, 600, 1 + round)])
                assert error is None, error
            assert sources(table) == {client(2 + round, 1): 12000, client(2 + round, 2): 3}, sources(table)
        assert {each.serial for each in rules.mappings()} == {3}
        print("moved")
    """
    assert run(machines("node"), textwrap.dedent(FLOWS) + textwrap.dedent(program)) == ["moved"]


def test_what_is_in_the_way_of_thousands_is_an_answer_for_each(machines):
    program = """
        old, new = client(1, 1), client(2, 1)
        begin(old, 12000)
        begin(new, 12000)  # a gate that did not hold: each creation fails
        table = conntrack.Conntrack()
        assert table.rehome({old: new}) == {}
        assert sources(table) == {new: 12000}, sources(table)
        print("moved")
    """
    assert run(machines("node"), textwrap.dedent(FLOWS) + textwrap.dedent(program)) == ["moved"]


def test_a_node_that_is_an_exit_too_forgets_what_is_not_its_own(machines):
    """Whoever comes back to it keeps its place in the pool: else the server would see another sender."""
    program = """
        OTHER, POOL = bytes.fromhex("fddd13371338020000000004") + bytes(4), PLAT[:12] + bytes((10, 23, 0, 9))

        def begin_behind_pool(source, destination, number):
            ports = conntrack.make_protocol({1: b"\\x06", 2: number.to_bytes(2, "big"), 3: b"\\0\\7"})
            parts = {3: (0x8 | 0x10).to_bytes(4, "big"), 7: (600).to_bytes(4, "big")}
            parts[1] = conntrack.make_tuple(1, source, destination, ports)[4:]
            parts[2] = conntrack.make_tuple(2, destination, POOL, conntrack.turned(ports))[4:]
            netfilter = conntrack.NetfilterSocket()
            netfilter.ask(conntrack.create_entry(conntrack.Entry(parts), source))
            netfilter.close()

        own, guest, lost, stays = [client(1, last) for last in (1, 2, 3, 4)]
        for number, each in enumerate((own, guest, lost, stays)):
            begin_behind_pool(each, SERVER, 2000 + number)
            begin(each, 1)
        table = conntrack.Conntrack()
        table.forget({own: PLAT, guest: OTHER, lost: None})
        left = {}
        for each in table.entries([own, guest, lost, stays]):
            left.setdefault(each.ends(1)[0], []).append(each.ends(2)[1])
        assert left == {own: [POOL], stays: left[stays]}, left  # guest's has come to a wrong exit
        assert sorted(left[stays]) == sorted([POOL, stays])
        print("kept")
    """
    assert run(machines("node"), textwrap.dedent(FLOWS) + textwrap.dedent(program)) == ["kept"]


def test_a_dump_that_nobody_listens_to_keeps_nobody_out(machines):
    machine = machines("node")
    lines = "".join(f"route add unreachable fd00::{number:x}/128 dev lo\n" for number in range(1, 3000))
    machine.run("ip link set lo up")
    machine.run(["ip", "-6", "-batch", "-"], input=lines)
    program = """
        from l3roamd_py.kernel.network import Network
        from xlat464.address import parse_ipv6
        network = Network("lo", None)
        for number in (1, 2999, 5, 3000, 7):
            assert network.ways.is_retracted(parse_ipv6("fd00::%x" % number)) == (number < 3000)
            network.addresses()
        print("told")
    """
    assert run(machine, program) == ["told"]


def test_who_was_not_told_of_all_knows_it_in_the_end(machines):
    """Neighbours, routes: more than the kernel keeps for us, and the last word is not what it kept."""
    machine = machines("node")
    machine.run("ip link add bridge0 type bridge")
    for port in ("one", "two"):
        machine.run(f"ip link add {port} type veth peer name {port}-end")
        machine.run(f"ip link set {port} master bridge0 up")
        machine.run(f"ip link set {port}-end up")
    machine.run("ip link set bridge0 up")
    for port in ("one", "two"):
        shown = f"bridge -json link show dev {port}"
        wait_until(lambda: '"state":"forwarding"' in machine.output(shown), f"port {port}")  # noqa: B023
    program = """
        import contextlib, subprocess
        from l3roamd_py.core.events import NodeAppeared, PlatsUnrouted
        from l3roamd_py.kernel.finder import Finder
        from l3roamd_py.kernel.node_routes import NodeRoutes
        from l3roamd_py.kernel.network import Network
        from xlat464.address import format_ipv6, parse_ipv6

        def batch(program, lines):
            subprocess.run([*program.split(), "-batch", "-"], input="\\n".join(lines), text=True, check=True)

        def mac(number):
            return bytes((2, 0, 0, 0)) + number.to_bytes(2, "big")

        def node(kind, number):
            return bytes.fromhex("fddd1337%04x" % kind) + bytes(4) + number.to_bytes(2, "big") + bytes(4)

        def neighbours(word, port, numbers):
            batch("bridge", [f"fdb {word} {mac(each).hex(':')} dev {port} master dynamic" for each in numbers])

        def routes(word, kind, numbers):
            batch("ip -6", [f"route {word} {format_ipv6(node(kind, each))}/96 dev one" for each in numbers])

        network = Network("bridge0", None)
        pending = []
        with contextlib.closing(Finder(network, 8192, pending)) as finder:
            finder.dump()
            neighbours("add", "one", range(6000))
            neighbours("replace", "two", range(6000))
            neighbours("del", "two", range(3000))
            for _ in range(1000):
                finder.read()
            assert finder.listing.overruns
            while pending:
                finder.listing.go_on(1.0)
            two = finder.links.index_of("two")
            wanted = {mac(each): two for each in range(3000, 6000)}
            assert finder.ports == wanted, len(finder.ports)

        plats, clats = parse_ipv6("fddd:1337:1338::"), parse_ipv6("fddd:1337:1337::")
        leads_to = network.ways.leads_to_node
        reachable = NodeRoutes(clats, node(0x1337, 9999), plats, network.ways.prefixes, leads_to, pending)
        routes("add", 0x1338, (1, 2))
        routes("add", 0x1337, (1, 2))
        assert reachable.read(0.0) == [NodeAppeared()]
        routes("add", 0x1337, range(10, 6000))
        routes("del", 0x1337, [1, *range(10, 6000)])
        routes("del", 0x1338, (2,))
        found = [each for _ in range(1000) for each in reachable.read(1.0)]
        while pending:
            found += reachable.listing.go_on(1.0)
        assert PlatsUnrouted(frozenset([node(0x1338, 2)])) in found, found
        assert reachable._here == {node(0x1337, 2)}, len(reachable._here)
        reachable.close()
        print("known")
    """
    assert run(machine, program) == ["known"]


def test_a_bridge_is_asked_for_a_mac_with_and_without_vlans(machines):
    machine = machines("node")
    machine.run("ip link add bridge0 type bridge")
    machine.run("ip link add one type veth peer name one-end")
    machine.run("ip link set one master bridge0")
    for device in ("bridge0", "one", "one-end"):
        machine.run(f"ip link set {device} up")
    wait_until(lambda: '"state":"forwarding"' in machine.output("bridge -json link show dev one"), "port")
    program = """
        import sys
        from l3roamd_py.kernel.network import Network
        network = Network("bridge0", None)
        bridge, one = network.index_of("bridge0"), network.index_of("one")
        mac = bytes.fromhex(sys.argv[1])
        assert network.bridge_entries.port_of(bridge, mac) == one
        assert network.bridge_entries.port_of(bridge, mac[:5] + b"\\0") == network.bridge_entries.port_of(0, mac) == 0
        assert network.bridge_entries.port_of(one, mac) == 0, "that is no bridge"
        print("known")
    """
    can_filter = not machine.run("ip link add bridge1 type bridge vlan_filtering 1", check=False).returncode
    for filtering, mac in ((0, "02aa00000001"), (1, "02aa00000002"))[: 1 + can_filter]:
        if filtering:
            machine.run("ip link set bridge0 type bridge vlan_filtering 1")
        entry = bytes.fromhex(mac).hex(":")
        machine.run(f"bridge fdb add {entry} dev one master dynamic" + " vlan 1" * filtering)
        assert machine.python(program, mac, PYTHONPATH=str(REPOSITORY)) == "known"


def test_a_client_that_took_the_last_port_s_carrier_along_is_found_silent(machines):
    """The kernel forgets its MAC with the carrier, and tells of none when a packet for it ends."""
    machine = machines("node")
    machine.run("ip link add bridge0 type bridge")
    machine.run("ip link add one type veth peer name one-end")
    machine.run("ip link set one master bridge0")
    for device in ("bridge0", "one", "one-end"):
        machine.run(f"ip link set {device} up")
    machine.run("ip -6 address add 2001:db8::1/64 dev bridge0 nodad")
    wait_until(lambda: '"state":"forwarding"' in machine.output("bridge -json link show dev one"), "port")
    program = """
        import contextlib, os, select
        from l3roamd_py.core.events import AddressGone
        from l3roamd_py.kernel.finder import Finder
        from l3roamd_py.kernel.network import Network
        from xlat464.address import parse_ipv6

        mac, address = bytes.fromhex("02aa00000009"), parse_ipv6("2001:db8:5::9")
        network = Network("bridge0", None)
        with contextlib.closing(Finder(network)) as finder:
            finder.dump()
            network.add_route(mac, address)
            assert "02:aa:00:00:00:09" in os.popen("ip -6 neigh show dev bridge0").read()
            os.system("ip link set one-end down")
            while "2001:db8:5::9" in os.popen("ip -6 neigh show dev bridge0").read():
                pass
            os.system("ip link set one-end up; ping -6 -c 1 -W 1 2001:db8:5::9 >/dev/null")
            found = []
            while AddressGone(mac, address, is_silent=True) not in found:
                assert select.select([finder.socket()], [], [], 20)[0], found
                found = finder.read()
        print("known")
    """
    assert run(machine, program) == ["known"]
