# SPDX-License-Identifier: ISC
"""A node that is started by the C l3roamd's command line: what it answers, what it routes, whom it serves.

The C daemon's answers and routes are ours: where L3ROAMD names one (version0.py), it is held to the same.
"""

import json

import pytest
from meshes import mesh_text
from version0 import BOTH, addresses, ask, private, reaches, routes, run, say, speak
from waiting import wait_until

from xlat464.address import format_mac

PAIR = mesh_text("a=both six=clat", "a-six", "phone=six", roaming="true")
TABLE = 46


@pytest.fixture(scope="module")
def mesh(lab_of):
    return lab_of(PAIR)


@pytest.fixture(scope="module", params=BOTH)
def whose(request):
    return request.param


@pytest.fixture(scope="module")
def lab(mesh, whose):
    run(mesh, "six", whose)
    return mesh


@pytest.fixture
def phone(lab):
    """The phone's address for privacy, which its node knows."""
    address = private(lab, "phone")
    wait_until(
        lambda: speak(lab, "phone", address) and addresses(lab, "six", "phone").get(address) == 1,
        "six knowing the phone",
    )
    return address


def test_answers_are_the_c_daemon_s_to_the_byte(lab, phone):
    prefix = str(lab.site.prefix6.network_address)
    mac = format_mac(lab.client("phone").mac)
    assert say(lab, "six", "get_prefixes") == f'{{ "prefixes": [ "::ffff:0.0.0.0", "fe80::", "{prefix}" ] }}'
    assert say(lab, "six", "add_prefix 2001:db8:9::/64") == "Added prefix: 2001:db8:9::/64"
    assert ask(lab, "six", "get_prefixes")["prefixes"][-1] == "2001:db8:9::"
    assert say(lab, "six", "del_prefix 2001:db8:9::/64") == "Deleted prefix: 2001:db8:9::/64"
    assert "2001:db8:9::" not in ask(lab, "six", "get_prefixes")["prefixes"]
    assert say(lab, "six", "get_meshifs") == '{ "mesh_interfaces": [ "mesh0" ] }'
    assert say(lab, "six", "del_meshif mesh0") == ""
    assert say(lab, "six", "get_meshifs") == '{ "mesh_interfaces": [ ] }'
    assert say(lab, "six", "add_meshif mesh0") == ""
    assert say(lab, "six", "get_meshifs") == '{ "mesh_interfaces": [ "mesh0" ] }'
    assert say(lab, "six", f"probe {phone} {mac}") == ""
    assert say(lab, "six", f"add_address {phone} {mac}") == "OK"
    assert say(lab, "six", f"del_address {phone} 02:00:00:00:99:99") == ""
    far = lab.plan.node_address(lab.node("a"))
    wait_until(lambda: reaches(lab, "six", far), "babel's route")
    assert say(lab, "six", f"has_route {far}") == f"found route {far}/128: YES\n"
    assert say(lab, "six", "has_route 2001:db8:77::1") == "found route 2001:db8:77::1/128: NO\n"
    assert say(lab, "six", "verbosity debug") == say(lab, "six", "verbosity verbose") == ""


def test_clients_are_listed_in_the_c_daemon_s_shape(lab, phone):
    text = say(lab, "six", "get_clients")
    listed = json.loads(text)
    assert text.startswith(f'{{ "clients": {listed["clients"]}, "clientlist": {{ "')
    about = listed["clientlist"][format_mac(lab.client("phone").mac)]
    assert list(about) == ["interface", "addresses"]
    assert about["addresses"][phone] == {"state": 1}
    assert f'"{phone}": {{ "state": 1 }}' in text


def test_routes_are_as_the_c_daemon_sets_them_in_the_table_of_choice(lab, whose, phone):
    before = routes(lab, "six", "main")[phone]
    assert before == {"dev": "br-client", "metric": 1024, "flags": [], "pref": "medium"}
    run(lab, "six", whose, "-t", str(TABLE))
    try:
        wait_until(
            lambda: speak(lab, "phone", phone) and phone in routes(lab, "six", TABLE),
            "the route in its table",
        )
        assert routes(lab, "six", TABLE)[phone] == before
        assert phone not in routes(lab, "six", "main")
    finally:
        run(lab, "six", whose)
