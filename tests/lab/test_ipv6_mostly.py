# SPDX-License-Identifier: ISC
"""A phone that believes what the mesh tells it: it has no IPv4 address, walks, and translates for itself (tayga)."""

import json
import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk import roaming
from sdk.demo import FAILOVER_S
from sdk.phone import Phone
from sdk.timeouts import TIMEOUT_SCALE

MESH = mesh_text(
    "a=clat b=clat x=plat y=plat",
    "a-b a-x b-x a-y b-y",
    "laptop=a phone=a",
    mostly="true",
    hello_interval_ms=500,
)
STRAY = 20  # packets of a laptop that does nothing


@pytest.fixture(scope="module")
def lab(lab_of):
    return lab_of(MESH + "handset = true\n")


def says(lab):
    """What the phone goes by now."""
    lines = lab.running.read("phone", "/run/log/handset.log").splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def translated(lab):
    """Packets that the nodes' translators have had."""
    counts = [lab.running.read(node, "/proc/net/dev") for node in ("a", "b")]
    lines = [
        line.split() for text in counts for line in text.splitlines() if line.strip().startswith("clat:")
    ]
    return sum(int(line[2]) + int(line[10]) for line in lines)


def test_a_phone_has_no_ipv4_address_and_ipv4_all_the_same(lab):
    wait_until(lambda: says(lab).get("clat"), "its CLAT")
    assert (lab.lease("phone"), lab.is_answered("phone")) == ("", True)
    assert lab.lease("laptop"), "beside it an old one"


def test_it_walks_with_open_connections_and_no_node_translates_for_it(lab):
    """Also to a node that uses another exit: the phone keeps its own."""
    before = translated(lab)
    with roaming.echo_traffic(lab, "phone") as traffic:
        time.sleep(1)
        walks = roaming.roam_through(lab, "phone", [(node, 1.5) for node in ("b", "a", "b", "a")])
        result = roaming.evaluate(traffic.end(), walks)
    assert not result.broken
    assert all(each.ms is not None for each in result.handoffs), result.handoffs
    assert translated(lab) - before < STRAY < result.sent


def test_it_goes_on_when_the_exit_dies(lab):
    died_s = time.monotonic()
    lab.kill(lab.plat_of("a"))
    assert Phone(lab, "phone").connect_anew(died_s, 20) < FAILOVER_S * TIMEOUT_SCALE
    assert says(lab)["pref64"], "there is another one"
