# SPDX-License-Identifier: ISC
"""The lab's diamond on the machine's kernel, links by its netem: every client has IPv4, and the exit may die."""

import json

import pytest
from conftest import wait_until

from sdk.lab import ECHO, WEB
from sdk.lab.topology import topology_file

BYTES = 1_000_000


@pytest.fixture(scope="module")
def lab(lab_modules, lab_of):
    lab = lab_of(topology_file("diamond").read_text(), ready=False)
    lab.wait_ready(300)
    return lab


def test_every_client_has_ipv4(lab):
    assert lab.has_netem, "the kernel's own links with delay"
    for client in lab.topology.clients:
        words = ["python", "-m", "sdk.client", "udp-echo", ECHO, "7", "1000"]
        assert json.loads(lab.exec(client.name, words).stdout)["same"]
        fetch = ["python", "-m", "sdk.client", "download", f"http://{WEB}/bytes/{BYTES}"]
        assert json.loads(lab.exec(client.name, fetch).stdout)["bytes"] == BYTES


def test_the_better_exit_dies_and_the_other_serves(lab):
    assert lab.plat_of("a") == "north"
    lab.kill("north")
    wait_until(lambda: lab.plat_of("a") == "south", what="the change to south")
    fetch = ["python", "-m", "sdk.client", "connects", ECHO, "7", "60"]
    assert json.loads(lab.exec("laptop", fetch).stdout)["at_s"]
