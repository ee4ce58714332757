# SPDX-License-Identifier: ISC
"""A phone that believes what the mesh tells it: it has no IPv4 address, walks, and translates for itself (tayga)."""

import json
import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk import roaming
from sdk.demo_mostly import calling, downloading, exit_of, live_through_failure, translated
from sdk.demo_roaming import downloaded
from sdk.lab import ECHO
from sdk.phone import FAILOVER_S, Phone
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


def test_a_phone_has_no_ipv4_address_and_ipv4_all_the_same(lab):
    wait_until(lambda: says(lab).get("clat"), "its CLAT")
    assert (lab.lease("phone"), lab.is_answered("phone")) == ("", True)
    assert lab.lease("laptop"), "beside it an old one"


def test_it_walks_with_open_connections_and_no_node_translates_for_it(lab):
    """Also to a node that uses another exit: the phone keeps its own."""
    before = translated(lab)
    with calling(lab, Phone(lab, "phone")) as traffic, downloading(lab, Phone(lab, "phone")) as download:
        time.sleep(1)
        walks = roaming.roam_through(lab, "phone", [(node, 1.5) for node in ("b", "a", "b", "a")])
        result = roaming.evaluate(traffic.end(), walks)
        downloaded(download.end())
    assert not result.broken
    assert all(each.ms is not None for each in result.handoffs), result.handoffs
    after = translated(lab)
    assert after - before < STRAY < result.sent
    lab.exec("laptop", ["ping", "-c", "10", "-i", "0.05", ECHO])
    assert translated(lab) - after >= STRAY, "the laptop's are counted"


def test_it_goes_on_when_the_exit_dies(lab):
    """A call over UDP as well, by its open socket; what else is open through that exit is over."""
    phone = Phone(lab, "phone")
    found = live_through_failure(lab, phone, exit_of(lab, phone))
    assert found.new_s < FAILOVER_S * TIMEOUT_SCALE
    assert found.since_s < 0.5 * TIMEOUT_SCALE, found
    assert found.silent_s < FAILOVER_S * TIMEOUT_SCALE, found
    assert found.ended, "another exit has another address"
    assert says(lab)["pref64"], "there is another one"
