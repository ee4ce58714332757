# SPDX-License-Identifier: ISC
"""The checks of `make test-openwrt` as far as they go without OpenWrt: nodes that run the packages in a lab."""

import packages
import pytest

from sdk.lab import Lab, parse_topology
from sdk.router import table
from sdk.router.mesh import Options
from sdk.router.stand_in import TOPOLOGY, StandInMesh

OPTIONS = Options(wan_down_s=8, kills=2, quiet_s=8)
ROWS = [check for check in table.CHECKS if set(check.needs) <= StandInMesh.abilities]


@pytest.fixture(scope="module")
def mesh(lab_name):
    """A line of three nodes with a client; the checks of a module follow each other on it."""
    packages.built()
    lab = Lab(parse_topology(TOPOLOGY, "the stand-in"), name=lab_name(), from_packages=packages.FOLDER)
    with lab:
        yield StandInMesh(lab, OPTIONS)


@pytest.mark.parametrize("check", ROWS, ids=lambda check: check.name)
def test_a_routers_life(mesh, check):
    assert check.work(mesh)


def test_what_needs_no_openwrt_is_checked_here():
    assert {check.name for check in ROWS} >= {"roles", "status", "reload", "wan-down", "broken-uci", "killed"}
