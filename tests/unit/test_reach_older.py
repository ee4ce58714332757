# SPDX-License-Identifier: ISC
"""A ledger that the version before has written, in its words, is the same steps today."""

import json
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

import pytest

from reach import apply, steps
from reach.kernel import KernelError
from reach.plan import Br, DeviceAddress, Gretap, Route, Rule, Tunnel
from reach.steps import Step

MAC = "02:00:00:00:00:01"
DEVICES = (
    (
        Tunnel("wrap1", IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2"), 1460, None),
        Step(
            "tunnel",
            "wrap1",
            {"local": "2001:db8::1", "remote": "2001:db8::2", "mtu": 1460, "encap_limit": None},
        ),
    ),
    (Br("taps", is_ours=True, mac=MAC), Step("bridge", "taps", {"mac": MAC})),
    (
        Gretap("taps-2", None, IPv4Address("198.51.100.2"), 1400, MAC, "taps", (5555, 5556)),
        Step(
            "gretap",
            "taps-2",
            {
                "remote": "198.51.100.2",
                "local": None,
                "mtu": 1400,
                "mac": MAC,
                "bridge": "taps",
                "ttl": 225,
                "gue": [5555, 5556],
            },
        ),
    ),
)
OTHERS = (
    (
        steps.address(DeviceAddress("eth0", ip_interface("2001:db8::1/128"), is_deprecated=True)),
        {"device": "eth0", "interface": "2001:db8::1/128", "deprecated": True},
    ),
    (
        steps.route(Route(ip_network("0.0.0.0/0"), "wg0", 4641)),
        {"to": "0.0.0.0/0", "device": "wg0", "table": 4641},
    ),
    (
        steps.route(Route(ip_network("198.51.100.0/24"), "wg0")),
        {"to": "198.51.100.0/24", "device": "wg0", "table": 254},
    ),
    (
        steps.rule(Rule(4, 4640, 4641, source=ip_network("198.51.100.0/24"), in_device="eth1")),
        {
            "family": 4,
            "priority": 4640,
            "table": 4641,
            "mark": None,
            "source": "198.51.100.0/24",
            "inverted": False,
            "suppresses": False,
            "device": "eth1",
            "destination": None,
        },
    ),
    (
        steps.rule(Rule(6, 4642, 254, mark=464, is_mark_inverted=True, suppresses_default=True)),
        {  # from before rules had a device and a destination
            "family": 6,
            "priority": 4642,
            "table": 254,
            "mark": 464,
            "source": None,
            "inverted": True,
            "suppresses": True,
        },
    ),
)


@pytest.fixture
def ledger(tmp_path):
    return apply.Ledger(tmp_path, "server")


def written(ledger, kind, key, values):
    step = {"kind": kind, "key": key, "values": values}
    ledger.path.write_text(json.dumps([{"step": step, "note": {"was": False}}]))
    ((entry,),) = (ledger.read(),)
    assert entry.note == {"was": False}
    return entry.step


@pytest.mark.parametrize(("today", "values"), OTHERS)
def test_an_address_a_route_a_rule(ledger, today, values):
    assert written(ledger, today.kind, today.key, values) == today


@pytest.mark.parametrize(("device", "before"), DEVICES)
def test_a_device(ledger, device, before):
    found = written(ledger, before.kind, before.key, before.values)
    assert found in steps.device_steps(None, device, None, "")


@pytest.mark.parametrize(("today", "_values"), OTHERS)
def test_what_is_todays_stays(ledger, today, _values):
    ledger.write([apply.Entry(today, {})])
    assert ledger.read() == [apply.Entry(today, {})]


def test_what_nobody_has_written_is_said_to_be_damaged(ledger):
    with pytest.raises(KernelError, match="is damaged"):
        written(ledger, "rule", "IPv4 4640", {"family": 4})
