# SPDX-License-Identifier: ISC
"""l3roamd_py and the C l3roamd share a mesh: clients walk from one to the other and back, and neither harms the other.

L3ROAMD names that (version0.py); without it the tests are skipped.
"""

import json
import os
import time
from pathlib import Path

import pytest
from meshes import mesh_text
from version0 import C_DAEMON, NEEDS_C, THEIRS, ask, run, serving
from waiting import wait_until

from xlat464.address import format_ipv6, format_mac

pytestmark = NEEDS_C
PAIR = mesh_text("ours=both theirs=clat", "ours-theirs", "phone=ours", roaming="true")
CPU_S = 2.0  # what the C daemon may need for all of this; in its endless loop it needs all there is
LOG_BYTES = 1 << 20


@pytest.fixture(scope="module")
def lab(lab_of):
    """Node `ours` with l3roamd_py, node `theirs` with the C daemon."""
    lab = lab_of(PAIR)
    run(lab, "theirs", THEIRS)
    wait_until(lambda: phone(lab), what="the phone's IPv6 address")
    wait_until(lambda: phone(lab) in ours(lab)["addresses"] or not speak(lab), what="our node knowing it")
    return lab


def phone(lab):
    """The phone's address for privacy, "" while it has none."""
    found = lab.ipv6_addresses("phone")
    return found[0] if len(found) == 2 else ""


def speak(lab):
    """The phone uses its IPv6, across the mesh, and its IPv4; always true."""
    far = [
        lab.plan.node_address(lab.node(name)) for name in ("ours", "theirs") if name != lab.node_of("phone")
    ]
    lab.exec("phone", ["ping", "-c", "1", "-W", "1", "-I", phone(lab), *far], check=False)
    lab.exec("phone", ["ping", "-c", "1", "-W", "1", str(lab.site.next_node_ip4)], check=False)
    return True


def status(lab):
    return json.loads(lab.exec("ours", ["l3roamd_py", "status", "--json"]).stdout)


def ours(lab):
    mac = format_mac(lab.client("phone").mac)
    nobody = {"addresses": [], "state": None}
    return next((each for each in status(lab)["clients"] if each["mac"] == mac), nobody)


def theirs(lab):
    """The phone as the C daemon knows it: {} for not at all, None if it does not answer."""
    answer = ask(lab, "theirs", "get_clients")
    return answer.get("clientlist", {}).get(format_mac(lab.client("phone").mac), {}) if answer else None


def has_address(lab, node):
    return node in serving(lab, "phone")


def routes_to(lab, node, destination):
    """Whether a node has a way of its own to a neighbour: not over the mesh."""
    route = lab.exec(node, ["ip", "-6", "route", "show", destination], check=False).stdout
    return "dev br-client" in route


def counters(lab):
    return status(lab)["counters"]


def cpu_s(lab):
    (pid,) = lab.running.daemons()["theirs"][C_DAEMON]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log_bytes(lab):
    return int(lab.exec("theirs", ["stat", "-c", "%s", "/run/log/c-l3roamd.log"]).stdout)


def is_unharmed(lab):
    assert theirs(lab) is not None, "the C daemon does not answer"
    assert cpu_s(lab) < CPU_S
    assert log_bytes(lab) < LOG_BYTES
    return True


def test_a_client_walks_from_ours_to_theirs_and_back(lab):
    assert routes_to(lab, "ours", phone(lab))
    assert has_address(lab, "ours")
    before = counters(lab)

    lab.roam("phone", "theirs")
    wait_until(lambda: speak(lab) and theirs(lab), "the C daemon knowing the phone")
    wait_until(lambda: ours(lab)["state"] is None, "our daemon letting go on its CLAIM")
    wait_until(lambda: has_address(lab, "theirs") and not has_address(lab, "ours"), "the address's move")
    assert not routes_to(lab, "ours", phone(lab))
    after = counters(lab)
    assert after["departures"] == before.get("departures", 0) + 1
    (departed,) = status(lab)["departed"]
    assert departed["mac"] == format_mac(lab.client("phone").mac)
    is_unharmed(lab)

    lab.roam("phone", "ours")
    wait_until(lambda: speak(lab) and ours(lab)["state"] == "served", "our daemon serving the phone")
    wait_until(lambda: has_address(lab, "ours") and not has_address(lab, "theirs"), "the address's way back")
    wait_until(lambda: speak(lab) and phone(lab) in ours(lab)["addresses"], "the phone's IPv6 here")
    assert routes_to(lab, "ours", phone(lab))
    is_unharmed(lab)


def test_a_client_that_theirs_did_not_let_go_of_is_claimed_from_it(lab):
    lab.roam("phone", "theirs")
    wait_until(lambda: speak(lab) and has_address(lab, "theirs"), "the C daemon serving the phone")
    wait_until(lambda: not has_address(lab, "ours"), "our address being given up")
    lab.roam("phone", "ours", hard=True)
    wait_until(lambda: speak(lab) and ours(lab)["state"] == "served", "our daemon serving the phone")
    wait_until(lambda: not has_address(lab, "theirs"), "the C daemon letting go on our CLAIM")
    is_unharmed(lab)


def knows_the_way(lab):
    """Whether babel leads from ours to theirs."""
    prefix = format_ipv6(lab.plan.clat_prefix(lab.node("theirs")))
    return "via" in lab.exec("ours", ["ip", "-6", "route", "show", f"{prefix}/96"]).stdout


def test_a_client_that_walked_while_the_mesh_was_in_two_parts_is_theirs_no_more(lab):
    """Their daemon is not told, and may notice it in minutes."""
    lab.roam("phone", "theirs")
    wait_until(lambda: speak(lab) and has_address(lab, "theirs"), "the C daemon serving the phone")
    wait_until(lambda: not has_address(lab, "ours"), "our address being given up")
    lab.cut("ours-theirs")
    try:
        wait_until(lambda: not knows_the_way(lab), "babel noticing")
        lab.roam("phone", "ours", hard=True)
        wait_until(lambda: speak(lab) and has_address(lab, "ours"), "our daemon serving the phone")
    finally:
        lab.heal("ours-theirs")
    wait_until(lambda: not has_address(lab, "theirs"), "the C daemon letting go on our CLAIM")
    assert has_address(lab, "ours")
    is_unharmed(lab)


def test_many_walks_leave_no_trace_of_harm(lab):
    for node in ("theirs", "ours") * 6:
        lab.roam("phone", node, hard=node == "ours")
        speak(lab)
    wait_until(lambda: ours(lab)["state"] == "served", "our daemon serving the phone")
    before_s, before_bytes, begun_s = cpu_s(lab), log_bytes(lab), time.monotonic()
    time.sleep(3)  # nothing happens now, and an endless loop would show
    idle = (cpu_s(lab) - before_s) / (time.monotonic() - begun_s)
    assert idle < 0.1
    assert log_bytes(lab) - before_bytes < 64 << 10
    assert counters(lab)["bugs"] == 0
    is_unharmed(lab)
