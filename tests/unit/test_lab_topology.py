# SPDX-License-Identifier: ISC
"""Topology files: what ships loads, what is wrong is said in a sentence, and the plan of cables holds together."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from meshes import mesh_text

from sdk.lab.base import with_settings
from sdk.lab.machine import LabError
from sdk.lab.plan import Cable, Plan, netem, plan_cables, platnodes, wan_addresses
from sdk.lab.side_by_side import side_by_side
from sdk.lab.site import EXAMPLE, load_site
from sdk.lab.topology import NAME_CHARS, Impairments, Role
from sdk.lab.topology_reader import TOPOLOGIES, TopologyError, load_topology, parse_topology

GOOD = mesh_text("a=clat b=plat", "a-b", "c=a")
ROUGH = """
[lab]
hello_interval_ms = 500
[nodes.{a}]
role = "both"
[nodes.{b}]
role = "both"
[[links]]
between = ["{a}", "{b}"]
[[links]]
between = ["{a}", "{b}"]
name = "second"
delay_ms = 2
mtu = 1300
[clients.{c}]
node = "{a}"
[clients.{d}]
node = "{b}"
""".format(a="a" * NAME_CHARS, b="b" * NAME_CHARS, c="c" * NAME_CHARS, d="d" * NAME_CHARS)


def with_(text):
    return GOOD + text


def link(text):
    return with_(f"[[links]]\nbetween = ['a', 'b']\nname = 'x'\n{text}")


def node(text):
    return f"[nodes.a]\nrole = 'clat'\n{text}"


def setting(text):
    return f"[lab]\n{text}\n{node('')}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no node, expected at least one [nodes.NAME]"),
        ("nodes = 3", "nodes is a number, expected a table"),
        ("[nodes]\na = 3", "nodes.a is a number, expected a table"),
        ("= 1", "this is not TOML"),
        ("[nodes.a]\n", "nodes.a.role is missing, expected a text in quotes"),
        ("[nodes.a]\nrole = 'router'", "nodes.a.role is 'router', expected clat, plat, both or plain"),
        ("[nodes.a]\nrole = 3", "nodes.a.role is a number, expected a text in quotes"),
        (
            "[nodes.A_b]\nrole = 'clat'",
            "the name 'A_b' is not made of a-z, 0-9 and inner hyphens, 15 characters",
        ),
        ("[nodes.aaaaaaaaaaaaaaaa]\nrole = 'clat'", "15 characters at most"),
        ("[nodes.'a b']\nrole = 'clat'", "the name 'a b'"),
        ("[nodes.'../x']\nrole = 'clat'", "the name '../x'"),
        ("[nodes.internet]\nrole = 'clat'", "the name 'internet' is taken"),
        (node("mac = '02:00'"), "nodes.a"),
        (node("mac = 'hello'"), "nodes.a"),
        (node("mac = '03:00:00:00:00:01'"), "multicast"),
        (node("mac = 12"), "nodes.a.mac is a number, expected a text in quotes"),
        (node("wan = { delay_ms = 1 }"), "wan is for the roles plat and both"),
        (
            node("colour = 'red'"),
            "unknown key 'colour' in nodes.a, known are mac, role, wan",
        ),
        ("colour = 'red'\n[nodes.a]\nrole = 'clat'", "unknown key 'colour', known are"),
        (setting("lease_s = 3"), "lab: lease_s is 3, expected 120 to 604800"),
        (
            setting("lease_s = 300.5"),
            "lab.lease_s is a number, expected a whole number",
        ),
        (setting("lease_s = true"), "lab.lease_s is true or false"),
        (
            setting("hello_interval_ms = 1"),
            "hello_interval_ms is 1, expected 100 to 60000",
        ),
        (setting("seed = -1"), "seed is -1"),
        (
            setting("prefixd = 'perl'"),
            "prefixd is 'perl', expected python or micropython",
        ),
        (
            setting("links = 'pigeon'"),
            "links is 'pigeon', expected auto, netem or wire",
        ),
        (
            setting("rules = 'ipchains'"),
            "rules is 'ipchains', expected nft, xtables or xtables+nft",
        ),
        (
            setting("translator = 'tayga'"),
            "translator is 'tayga', expected siit or nat46",
        ),
        (setting("pool = '10.0.0.1/24'"), "10.0.0.1/24"),
        (setting("pool = 'lots'"), "lab"),
        (with_("[[links]]\nbetween = ['a', 'x']"), "link a-x: there is no node 'x', known are a, b"),
        (with_("[[links]]\nbetween = ['a', 'a']"), "both ends are 'a', expected two nodes"),
        (with_("[[links]]\nbetween = ['a']"), "between is not two names of nodes"),
        (with_("[[links]]\nbetween = 'a-b'"), "links[1].between is a text, expected a list"),
        (with_("[[links]]\nmtu = 1400"), "links[1].between is missing, expected a list"),
        (with_("[[links]]\nbetween = ['a', 'b']"), "the link name 'a-b' is given twice"),
        (
            link("mtu = 1279"),
            "mtu is 1279, expected 1280 to 9000",
        ),
        (
            link("mtu = 1400.0"),
            "mtu is a number, expected a whole",
        ),
        (link("loss_percent = 101"), "loss_percent is 101"),
        (link("loss_percent = nan"), "loss_percent is nan"),
        (
            link("delay_ms = inf"),
            "delay_ms is inf, expected 0 to 10000",
        ),
        (
            link("jitter_ms = 2"),
            "jitter_ms 2 is more than delay_ms 0",
        ),
        (link("rate_mbit = 0.001"), "rate_mbit is 0.001"),
        (
            link("cost = 70000"),
            "cost is 70000, expected 1 to 65534",
        ),
        (
            link("type = 'wifi'"),
            "type is 'wifi', expected wired",
        ),
        (with_("[[links]]\nbetween = ['a', 'b']\nname = 'x y; reboot'"), "the name 'x y; reboot'"),
        (link("speed = 1"), "unknown key 'speed' in links[1]"),
        (with_("[[links]]\nbetween = ['a', 'b']\nname = 'wan-b'"), "wan-b"),
        (with_("[[links]]\nbetween = ['a', 'b']\nname = 'client-c'"), "client-c"),
        (with_("[clients.d]\nnode = 'b'"), "client d: node 'b' has the role plat, expected clat or both"),
        (with_("[clients.d]\nnode = 'x'"), "client d: there is no node 'x', known are a, b"),
        (with_("[clients.a]\nnode = 'a'"), "the name 'a' is given twice"),
        (with_("[clients.internet]\nnode = 'a'"), "the name 'internet' is taken"),
        (with_("[clients.d]\nnode = 'a'\nlink = 3"), "clients.d.link is a number, expected a table"),
        (with_("[clients.d]\nnode = 'a'\nlink = { delay = 3 }"), "unknown key 'delay' in clients.d.link"),
        (with_("[clients.d]\nnode = 2020-01-01"), "clients.d.node is a date, expected a text in quotes"),
        (
            with_("".join(f"[clients.d{i}]\nnode = 'a'\n" for i in range(200))),
            "too many, expected at most 200",
        ),
    ],
)
def test_a_wrong_topology_is_one_sentence_with_file_and_expectation(text, says):
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "my.toml")
    sentence = str(caught.value)
    assert sentence.startswith("my.toml: ")
    assert says in sentence
    assert "\n" not in sentence


def test_a_file_that_cannot_be_read_is_named_with_what_ships(tmp_path):
    (tmp_path / "latin1.toml").write_bytes(b'description = "\xe4"')
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "latin1.toml"):
        with pytest.raises(
            TopologyError, match=r"cannot read the topology.*these ship: diamond, line, mesh12"
        ) as caught:
            load_topology(path)
        assert str(path) in str(caught.value)


def test_the_good_topology_of_these_tests_is_good():
    topology = parse_topology(GOOD, "good.toml")
    assert [node.role for node in topology.nodes] == [Role.CLAT, Role.PLAT]
    assert topology.links[0].name == "a-b"
    assert topology.nodes[0].mac == parse_topology(GOOD, "").nodes[0].mac


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.toml")), ids=lambda path: path.stem)
def test_topologies_that_ship_load_by_name_and_by_path_and_say_what_they_are(path):
    topology = load_topology(path.stem)
    assert topology == load_topology(path)
    assert topology.description
    assert topology.clients
    assert platnodes(topology)


def test_three_topologies_ship_of_the_sizes_promised():
    assert {path.stem for path in TOPOLOGIES.glob("*.toml")} == {"line", "diamond", "mesh12"}
    assert len(load_topology("line").nodes) == 3
    assert len(platnodes(load_topology("diamond"))) == 2
    assert len(load_topology("mesh12").nodes) == 12
    assert len(platnodes(load_topology("mesh12"))) == 3


@pytest.mark.parametrize("source", ["line", "diamond", "mesh12", ROUGH])
def test_cables_have_short_device_names_unique_on_each_machine_and_one_name_each(source):
    topology = parse_topology(source, "rough.toml") if "[" in source else load_topology(source)
    site = load_site(EXAMPLE, topology.settings.pool)
    cables = plan_cables(topology, site)
    assert len(cables) == len(topology.links) + len(platnodes(topology)) + len(topology.clients)
    assert len({cable.name for cable in cables}) == len(cables)
    ends = [end for cable in cables for end in (cable.a, cable.b)]
    assert len(set(ends)) == len(ends)
    assert all(0 < len(end.device) <= 15 for end in ends)
    assert all(cable.mtu in (1500, site.mesh_mtu, cable.impairments.mtu) for cable in cables)


def test_a_cable_knows_its_ends():
    cable = plan_cables(load_topology("line"), load_site())[0]
    assert isinstance(cable, Cable)
    assert cable.has_end_at("a")
    assert not cable.has_end_at("exit")
    assert cable.end_at("a") == cable.a


def test_wan_addresses_of_64_platnodes_are_all_different():
    pairs = [wan_addresses(i) for i in range(64)]
    assert len({address for pair in pairs for address in pair}) == 128


def test_an_mtu_alone_needs_no_wire():
    assert Impairments(mtu=1400).is_plain
    assert not Impairments(loss_percent=0.1).is_plain


def test_work_side_by_side_ends_at_the_first_failure_and_says_it():
    done = []

    def work(item):
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        side_by_side(work, range(1000))
    side_by_side(done.append, ["last"])
    assert done[-1] == "last"


def test_an_interrupt_waits_until_the_pool_has_its_work(monkeypatch):
    """In the middle of submit it would leave a lock taken, and then the pool's threads never end."""
    submitted, submit = [], ThreadPoolExecutor.submit

    def interrupted_submit(self, *words):
        signal.raise_signal(signal.SIGINT)
        submitted.append(submit(self, *words))
        return submitted[-1]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted_submit)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(lambda item: None, range(3))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(submitted) == 3


@pytest.mark.parametrize(
    ("impairments", "words"),
    [
        (Impairments(delay_ms=5), "delay 5ms"),
        (Impairments(delay_ms=5, jitter_ms=2), "delay 5ms 2ms rate 100000mbit"),  # or netem would reorder
        (Impairments(delay_ms=5, jitter_ms=2, rate_mbit=8), "delay 5ms 2ms rate 8mbit"),
        (Impairments(loss_percent=0.5), "delay 0ms loss 0.5%"),
        (
            Impairments(reorder_percent=5),
            "delay 2ms reorder 5%",
        ),  # without a delay netem has nothing to overtake
        (Impairments(delay_ms=9, jitter_ms=1, reorder_percent=5), "delay 9ms 1ms reorder 5%"),
    ],
)
def test_netem_is_asked_for_what_the_wire_does(impairments, words):
    assert netem(impairments) == f"limit 20000 {words}"


def test_a_node_with_nat46_runs_no_daemon_for_it_and_prefixd_writes_to_the_module():
    plain = node("")
    for text, programs, target in (
        (plain, ["siit"], "/run/siit/control.sock"),
        (f"[lab]\ntranslator = 'nat46'\n{plain}", [], "/proc/net/nat46/control"),
    ):
        topology = parse_topology(text, "the test's")
        plan = Plan(topology, load_site(EXAMPLE))
        assert [each for each in plan.programs(topology.nodes[0]) if each == "siit"] == programs
        words = plan.prefixd(topology.nodes[0])
        assert words[words.index("--target") + 1] == target


@pytest.mark.parametrize(
    ("rules", "firewall", "roams"),
    [
        ("nft", "nft", "nft"),
        ("xtables", "xtables", "xtables"),
        ("xtables+nft", "xtables", "nft"),
    ],
)
def test_roles_and_roams_have_the_rules_that_the_topology_wants(rules, firewall, roams):
    topology = parse_topology(f"[lab]\nrules = '{rules}'\n[nodes.a]\nrole = 'both'\n", "the test's")
    default = parse_topology("[nodes.a]\nrole = 'both'\n", "the test's")
    for each in (topology, with_settings(default, {"LAB_RULES": rules})):
        (node,) = each.nodes
        plan = Plan(each, load_site(EXAMPLE))
        role, daemon = plan.role_options(node), plan.l3roamd(node)
        assert role[role.index("--firewall") + 1] == firewall
        assert daemon[daemon.index("--rules") + 1] == roams
        has_iptables = any("ln -s" in line for line in plan.node_lines(node))
        assert has_iptables == (firewall == "xtables")
    assert with_settings(topology, {}) == topology
    with pytest.raises(LabError, match="LAB_RULES: rules is 'ipchains'"):
        with_settings(topology, {"LAB_RULES": "ipchains"})


def test_the_exits_of_a_node_are_those_that_links_lead_to():
    island = '[nodes.far]\nrole = "both"\n[nodes.alone]\nrole = "clat"\n[nodes.via]\nrole = "plain"\n'
    links = '[[links]]\nbetween = ["b", "via"]\n[[links]]\nbetween = ["via", "far"]\n'
    topology = parse_topology(with_(island + links), "a file")
    assert {name: topology.exits_of(name) for name in ("a", "far", "alone")} == {
        "a": ["b", "far"],
        "far": ["b", "far"],
        "alone": [],
    }
