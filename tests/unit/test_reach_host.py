# SPDX-License-Identifier: ISC
"""What a machine does to a plan."""

import socket
from pathlib import Path

import pytest

from reach import host, reader, ruleset_iptables, status
from reach.plan_publish import make

EXAMPLES = Path(__file__).resolve().parents[2] / "reach" / "examples"


@pytest.mark.parametrize(
    ("example", "public"), [("4in6", "203.0.113.144"), ("relay-wireguard", "192.0.2.123")]
)
def test_a_public_address_that_the_machine_has_not_is_pointed_at(example, public):
    plan = make(reader.read((EXAMPLES / f"{example}.toml").read_text()), "server")
    (said,) = host.advice(plan, host.Machine((), frozenset(["10.0.0.4"])))
    assert not said.is_error
    assert f"{public} is at no device of this machine" in said.sentence
    assert host.advice(plan, host.Machine((), frozenset([public, "::1"]))) == []


def test_at_home_nobody_asks_for_it():
    plan = make(reader.read((EXAMPLES / "4in6.toml").read_text()), "attic")
    assert host.advice(plan, host.Machine((), frozenset())) == []


@pytest.mark.parametrize(
    ("example", "end", "accepted", "is_said"),
    [
        ("exit", "macbook", "-p udp --dport 1194", "udp 1194"),
        ("relay-wireguard", "laptop", "-d 192.0.2.0/24", "udp 51820"),
        ("exit", "server", "-m conntrack --ctstate ESTABLISHED", "accept answers there"),
    ],
)
def test_a_firewall_that_lets_little_out_is_pointed_at(example, end, accepted, is_said):
    plan = make(reader.read((EXAMPLES / f"{example}.toml").read_text()), end)
    text = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n{}COMMIT\n"
    closed, opened = (
        host.Machine(
            tuple(ruleset_iptables.read("iptables", 4, text.format(rules))), frozenset(["203.0.113.7"])
        )
        for rules in ("", f"-A OUTPUT {accepted} -j ACCEPT\n")
    )
    said = [finding.sentence for finding in host.advice(plan, closed)]
    assert is_said in said[0]
    assert host.advice(plan, opened) == []


@pytest.mark.parametrize(
    ("example", "table", "rule", "is_said"),
    [
        ("4in6", "raw", "PREROUTING -d 203.0.113.144 -p tcp --dport 443", "accept tcp 443 there"),
        (
            "4in6",
            "mangle",
            "PREROUTING -s 192.168.1.210 -m conntrack --ctstate ESTABLISHED",
            "let wrap1 through",
        ),
        ("relay-wireguard", "raw", "PREROUTING -p udp", "accept udp 51820 there"),
        ("relay-wireguard", "mangle", "POSTROUTING -p tcp --sport 443", "accept answers there"),
        ("exit", "mangle", "POSTROUTING -o wg0", "let wg0 through there, both ways"),
    ],
)
def test_chains_before_and_behind_routing_are_looked_at_too(example, table, rule, is_said):
    plan = make(reader.read((EXAMPLES / f"{example}.toml").read_text()), "server")
    text = f"*{table}\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A {rule} -j DROP\nCOMMIT\n"
    tables = tuple(ruleset_iptables.read("iptables", 4, text))
    (said,) = host.advice(plan, host.Machine(tables, frozenset([str(plan.public or "203.0.113.7")])))
    assert is_said in said.sentence


@pytest.mark.parametrize(("is_range", "found"), [(True, None), (False, False)])
def test_the_first_port_of_a_range_may_refuse(is_range, found):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert status.answers("127.0.0.1", taken.getsockname()[1], is_range) is found


@pytest.mark.parametrize(
    ("accepted", "said"),
    [
        ("", ["iptables -I INPUT -p tcp --dport 8000:8010 -j ACCEPT"]),
        (
            "-A INPUT -p tcp --dport 8000 -j ACCEPT\n",
            ["iptables -I INPUT -p tcp --dport 8000:8010 -j ACCEPT"],
        ),
        ("-A INPUT -p tcp --dport 8000:8010 -j ACCEPT\n", []),
    ],
)
def test_a_range_of_ports_is_let_in_as_a_whole(accepted, said):
    text = '[server]\ndevice = "eth0"\nipv4 = "203.0.113.7"\n[[publish]]\ntcp = "8000-8010"\nto = "2001:db8::1"\n'
    plan = make(reader.read(text), "server")
    established = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
    rules = f"*filter\n:INPUT DROP [0:0]\n{established}{accepted}COMMIT\n"
    machine = host.Machine(tuple(ruleset_iptables.read("iptables", 4, rules)), frozenset(["203.0.113.7"]))
    found = [each.sentence for each in host.advice(plan, machine)]
    assert [each.partition("; for example: ")[2] for each in found] == said
    assert all("accept tcp 8000-8010 there" in each for each in found)
