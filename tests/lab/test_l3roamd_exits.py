# SPDX-License-Identifier: ISC
"""An exit dies while prefixd, which tells the roaming daemon, is dead or is not heard."""

import signal

import pytest
from meshes import mesh_text
from waiting import wait_until

TWO_EXITS = mesh_text("a=clat x=plat y=plat", "a-x a-y x-y", "phone=a", roaming="true")


@pytest.fixture(scope="module")
def mesh(lab_of):
    return lab_of(TWO_EXITS)


@pytest.fixture
def lab(mesh):
    """The mesh with all nodes and daemons, and the phone with a lease on a PLAT."""
    for name in ("x", "y"):
        if not mesh.alive()[name]:
            mesh.start(name)
    for daemon, start in (("prefixd", mesh.programs.start_prefixd), ("l3roamd", mesh.programs.start_l3roamd)):
        if not mesh.running.daemons()["a"].get(daemon):
            start(mesh.node("a"))
    wait_until(lambda: mesh.prefixd_status("a").get("candidates") == 2, what="both exits at a")
    wait_until(lambda: mesh.plat_of_client("phone") and mesh.is_answered("phone"), what="the phone")
    return mesh


def prefixd_dies(lab, gone):
    """prefixd restarts while the exit dies."""
    lab.running.stop("a", "prefixd", signal.SIGKILL)
    lab.kill(gone)
    wait_until(lambda: reachable(lab) == 1, what="babel losing the exit")
    lab.programs.start_prefixd(lab.node("a"))


def l3roamd_dies(lab, gone):
    """The roaming daemon restarts at that moment, so prefixd cannot tell it."""
    lab.running.stop("a", "l3roamd", signal.SIGKILL)
    lab.kill(gone)
    wait_until(lambda: lab.plat_of("a") not in (None, gone), what="prefixd leaving the exit")
    wait_until(lambda: reachable(lab) == 1, what="babel losing the exit")
    lab.programs.start_l3roamd(lab.node("a"))


def both_die(lab, gone):
    for daemon in ("prefixd", "l3roamd"):
        lab.running.stop("a", daemon, signal.SIGKILL)
    lab.kill(gone)
    wait_until(lambda: reachable(lab) == 1, what="babel losing the exit")
    lab.programs.start_l3roamd(lab.node("a"))
    lab.programs.start_prefixd(lab.node("a"))


def nobody_tells(lab, gone):
    """Without prefixd the route alone tells; there is nothing to move to until it is back."""
    lab.running.stop("a", "prefixd", signal.SIGKILL)
    lab.kill(gone)
    wait_until(lambda: lab.plat_of_client("phone") != gone, what="the phone off the dead exit")
    lab.programs.start_prefixd(lab.node("a"))


def reachable(lab):
    """How many PLATs the kernel at a has a way to."""
    around = str(lab.site.plat_range.network_address).rstrip(":")
    routes = lab.exec("a", ["ip", "-6", "route", "show"]).stdout.splitlines()
    return sum(route.startswith(around) and "/96" in route for route in routes)


@pytest.mark.parametrize("happens", [prefixd_dies, l3roamd_dies, both_die, nobody_tells])
def test_a_client_does_not_stay_on_an_exit_that_is_gone(lab, happens):
    gone = lab.plat_of_client("phone")
    happens(lab, gone)
    (other,) = {"x", "y"} - {gone}
    wait_until(lambda: lab.plat_of_client("phone") == other, what="the phone on the other exit")
    wait_until(lambda: lab.is_answered("phone"), what="an answer through it")
