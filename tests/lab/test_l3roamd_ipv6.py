# SPDX-License-Identifier: ISC
"""IPv6 of clients that are as they come from a shop: addresses of router advertisements, and nothing said unasked."""

import json
import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from xlat464.address import format_mac

LINE = mesh_text("a=both b=clat", "a-b", "phone=b thief=b", roaming="true", rules='"{rules}"')


@pytest.fixture(scope="module", params=["nft", "xtables"])
def lab(request, lab_of):
    return lab_of(LINE.format(rules=request.param))


def addresses(lab, client):
    """The addresses that a client made itself and may use, the one for privacy first."""
    told = lab.exec(client, ["ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "global"]).stdout
    known = [each for device in json.loads(told) for each in device.get("addr_info", []) if "local" in each]
    found = [each for each in known if not each.get("tentative")]
    return [each["local"] for each in sorted(found, key=lambda each: not each.get("temporary"))]


def far(lab):
    """An address across the mesh: the other node's own."""
    return lab.plan.node_address(lab.node("a"))


def served(lab, node, client):
    mac = format_mac(lab.client(client).mac)
    found = [each for each in lab.roaming_status(node)["clients"] if each["mac"] == mac]
    return found[0]["addresses"] if found else []


def routed(lab, node, address):
    return "dev br-client" in lab.exec(node, ["ip", "-6", "route", "show", address]).stdout


def ping(lab, client, *words):
    return lab.exec(client, ["ping", "-6", *words, far(lab)], check=False)


def test_a_silent_newcomer_s_first_packet_is_answered(lab):
    wait_until(lambda: len(addresses(lab, "phone")) == 2, "the phone's two addresses")
    for address in addresses(lab, "phone"):
        begun_s = time.monotonic()
        done = ping(lab, "phone", "-c", "1", "-W", "2", "-I", address)
        assert done.returncode == 0, done.stdout + str(lab.roaming_status("b")["clients"])
        assert time.monotonic() - begun_s < 1.2
        assert routed(lab, "b", address)
    assert set(addresses(lab, "phone")) <= set(served(lab, "b", "phone"))


def test_its_addresses_walk_along(lab):
    known = addresses(lab, "phone")
    lab.roam("phone", "a")
    wait_until(lambda: set(known) <= set(served(lab, "a", "phone")), "the phone's addresses at a")
    wait_until(lambda: not any(routed(lab, "b", each) for each in known), "no route at b")
    assert not served(lab, "b", "phone")
    lab.roam("phone", "b", hard=True)
    wait_until(lambda: ping(lab, "phone", "-c", "1", "-W", "1").returncode == 0, "an answer at b")
    assert not any(routed(lab, "a", each) for each in known)


def test_what_was_learnt_outlives_the_daemon(lab):
    """And what the kernel's gate has of a client that nobody remembers does not."""
    lab.running.stop("b", "l3roamd")
    assert ping(lab, "phone", "-c", "1", "-W", "2").returncode == 0, "it works on without a daemon"
    lab.programs.start_l3roamd(lab.node("b"))
    assert ping(lab, "phone", "-c", "1", "-W", "2").returncode == 0
    lab.running.stop("b", "l3roamd")
    lab.exec("b", ["rm", "/run/l3roamd.state"], check=False)
    lab.programs.start_l3roamd(lab.node("b"))
    wait_until(lambda: ping(lab, "phone", "-c", "1", "-W", "1").returncode == 0, "being learnt anew")
