# SPDX-License-Identifier: ISC
"""Which chains of other firewalls hold a gateway's packets up, as `464xlat check` says it."""

import json

import pytest
from test_server_conf import GATEWAY, right

from reach import ruleset_nft
from server import firewalls

FORWARD = """{{"nftables": [{{"chain": {{"family": "inet", "table": "{table}", "name": "forward", "handle": 1,
"type": "filter", "hook": "forward", "prio": 0, "policy": "{policy}"}}}},
{{"table": {{"family": "inet", "name": "{table}", "handle": 2}}}}]}}"""


@pytest.mark.parametrize(
    ("table", "policy", "sentences"),
    [
        ("filter", "accept", 0),
        ("xlat464_plat", "drop", 0),
        ("filter", "drop", 1),
    ],
)
def test_a_firewall_that_drops_what_a_gateway_forwards_is_named(table, policy, sentences):
    text = FORWARD.format(table=table, policy=policy)
    json.loads(text)
    said = list(firewalls.held_up(right(GATEWAY), ruleset_nft.read(text)))
    assert len(said) == sentences
    if said:
        assert said[0].startswith("table inet filter, chain forward drops what comes from wg-mesh to plat, ")
        assert said[0].endswith("from plat to eth0, from eth0 to plat")


INPUT = {"family": "inet", "table": "f", "chain": "c"}


def firewall(hook, *accepted):
    """A chain that accepts what has one of these values, (left side, right side), and drops all else."""
    chain = {"family": "inet", "table": "f", "name": "c", "type": "filter", "hook": hook, "prio": 0}
    rules = [
        {
            "rule": INPUT
            | {
                "expr": [
                    *({"match": {"op": "==", "left": left, "right": right}} for left, right in each),
                    {"accept": None},
                ]
            }
        }
        for each in accepted
    ]
    listed = [{"table": {"family": "inet", "name": "f"}}, {"chain": chain | {"policy": "drop"}}, *rules]
    return list(firewalls.held_up(right(GATEWAY), ruleset_nft.read(json.dumps({"nftables": listed}))))


L4PROTO = {"meta": {"key": "l4proto"}}
UDP = ({"payload": {"protocol": "udp", "field": "dport"}}, {"set": [6696, 5523]})


def test_a_firewall_that_drops_neighbour_discovery_on_the_mesh_is_named():
    dropped = "table inet f, chain c drops what comes as ICMPv6 on wg-mesh, as ICMPv6 on vlan7"
    tracked = ({"ct": {"key": "state"}}, {"set": ["established", "related", "new"]})
    assert firewall("input", [UDP]) == [dropped]
    assert firewall("input", [UDP], [tracked, (L4PROTO, "ipv6-icmp")]) == [dropped]
    assert firewall("input", [UDP], [(L4PROTO, "ipv6-icmp")]) == []
    assert firewall("input", [UDP], [(L4PROTO, 58)]) == []
    # of some types nobody can tell here
    typed = ({"payload": {"protocol": "icmpv6", "field": "type"}}, "nd-neighbor-solicit")
    assert firewall("input", [UDP], [typed]) == []


def test_a_firewall_that_forwards_tcp_alone_is_named():
    (said,) = firewall("forward", [(L4PROTO, "tcp")])
    assert said.startswith("table inet f, chain c drops what comes from wg-mesh to plat (UDP), ")
    assert firewall("forward", [(L4PROTO, {"set": ["tcp", "udp"]})]) == []
