# SPDX-License-Identifier: ISC
"""Rules that nobody here understands: they make a decision doubtful, and nothing worse. The rest is held to the kernel
by tests/lab/test_reach_firewalls.py.
"""

import json
import random

import pytest

from reach import ruleset_iptables, ruleset_nft
from reach.ruleset import Packet, decide

CALL = Packet("input", 4, "udp", 51820, "eth0", "")
ARRIVING = Packet("prerouting", 4, "udp", 51820, "eth0", "")
DROPS = "*filter\n:INPUT DROP [0:0]\n:other - [0:0]\n{}\nCOMMIT\n"
DOUBTS = [
    "-A INPUT -m geoip --src-cc DE -j ACCEPT",
    "-A INPUT -m set --match-set friends src -j ACCEPT",
    "-A INPUT -p udp -j NFQUEUE --queue-num 1",
    "-A INPUT -j SOMETHING --of their-own",
    "-A INPUT -m time --timestart 08:00 -g other\n-A other -j ACCEPT",
    "-A INPUT -p udp --dport what -j ACCEPT",
    "-A INPUT -j other\n-A INPUT -j ACCEPT\n-A other -m geoip --src-cc DE -j RETURN\n-A other -j DROP",
]


def one(tables, packet=CALL):
    (chain,) = (chain for table in tables for chain in table.chains.values() if chain.hook == packet.hook)
    return decide(tables[0], chain, packet)


@pytest.mark.parametrize("rules", DOUBTS)
def test_iptables_rules_that_are_not_understood_leave_doubt(rules):
    found = one(ruleset_iptables.read("iptables", 4, DROPS.format(rules)))
    assert (found.verdict, "accept" in found.possible) == ("drop", True)


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ("", "drop"),
        ("-A INPUT -s 198.51.100.0/24 -j ACCEPT", "drop"),  # a few friends are not everybody
        ("-A INPUT ! -s 198.51.100.0/24 -j ACCEPT", "accept"),
        ('-A INPUT -m comment --comment "a -j DROP" -j ACCEPT', "accept"),
        ("-A INPUT -m recent --update --seconds 60 -j DROP\n-A INPUT -j ACCEPT", "accept"),
        (
            "-A INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-name a -j DROP\n-A INPUT -j ACCEPT",
            "accept",
        ),
        ("-A INPUT -i eth+ -p udp -m udp --dport 51000: -j ACCEPT", "accept"),
        ("-A INPUT -j other\n-A other -p udp -j RETURN\n-A other -j ACCEPT", "drop"),
        ("-A INPUT -g other\n-A INPUT -j ACCEPT", "drop"),
        ("-A INPUT -j LOG --log-prefix x\n-A INPUT -m mark --mark 0x1/0x1 -j ACCEPT", "drop"),
    ],
)
def test_iptables_rules_that_are_understood_leave_none(rules, verdict):
    found = one(ruleset_iptables.read("iptables", 4, DROPS.format(rules)))
    assert (found.verdict, found.possible - {verdict}) == (verdict, frozenset())


def nft(*expressions, sets=()):
    where = {"family": "inet", "table": "t"}
    chain = {"chain": {**where, "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}
    rules = [{"rule": {**where, "chain": "c", "expr": [*each]}} for each in expressions]
    return json.dumps({"nftables": [{"metainfo": {}}, {"table": {**where}}, *sets, chain, *rules]})


ACCEPT = {"accept": None}
STRANGE = [
    [{"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}}, ACCEPT],
    [{"match": {"op": "<", "left": {"meta": {"key": "length"}}, "right": 100}}, ACCEPT],
    [
        {
            "match": {
                "op": "==",
                "left": {"payload": {"protocol": "udp", "field": "dport"}},
                "right": "@nowhere",
            }
        },
        ACCEPT,
    ],
    [{"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 0, "len": 8}}, "right": 1}}, ACCEPT],
    [{"limit": "by its name"}, ACCEPT],
    [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@nowhere"}}],
    [{"jump": {"target": "nowhere"}}],
    [{"queue": {"num": 1}}],
    [{"xt": {"type": "match", "name": "geoip"}}, ACCEPT],
    ["what", ACCEPT],
]


@pytest.mark.parametrize("expressions", STRANGE, ids=range(len(STRANGE)))
def test_nft_expressions_that_are_not_understood_leave_doubt(expressions):
    found = one(ruleset_nft.read(nft(expressions)))
    assert (found.verdict, "accept" in found.possible) == ("drop", True)


@pytest.mark.parametrize(
    ("told", "verdict", "possible"),
    [({}, "drop", {"accept"}), ({"dev": "eth0"}, "drop", set()), ({"dev": ["eth1", "wg0"]}, "accept", set())],
)
def test_what_drops_at_the_device_is_seen_and_doubted_where_it_is_not_named(told, verdict, possible):
    where = {"family": "netdev", "table": "t", **told}
    chain = {"name": "c", "type": "filter", "hook": "ingress", "prio": -500, "policy": "drop"}
    found = one(ruleset_nft.read(json.dumps({"nftables": [{"chain": where | chain}]})), ARRIVING)
    assert (found.verdict, found.possible) == (verdict, possible)


def test_a_listing_with_pieces_missing_is_read_all_the_same():
    """Whatever a newer nft prints."""
    chance = random.Random(464)
    for _ in range(2000):
        expressions = [json.loads(json.dumps(each)) for each in STRANGE]
        words = list(walk(expressions))
        for _ in range(chance.randint(1, 3)):
            holder, key = chance.choice(words)
            if isinstance(holder, list) and key >= len(holder):
                continue
            holder[key] = chance.choice([None, 1, "x", [], {}, {"a": None}, ["b"]])
        for table in ruleset_nft.read(nft(*(each for each in expressions if isinstance(each, list)))):
            for chain in table.chains.values():
                decide(table, chain, CALL)


def walk(value):
    for key in range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ():
        yield value, key
        yield from walk(value[key])
