# SPDX-License-Identifier: ISC
"""What a machine does to a plan."""

from pathlib import Path

import pytest

from reach import host, reader, ruleset_iptables
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
