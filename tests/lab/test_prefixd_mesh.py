# SPDX-License-Identifier: ISC
"""prefixd among real babelds, and among hundreds of exits that are none, in namespaces, on both Pythons."""

import os
import re
import shutil
import time

import pytest
from prefixd_lab import (
    plat,
    route,
)
from prefixd_mesh import BOTH, A, B, Mesh, Node, config
from waiting import wait_until

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


@pytest.fixture
def mesh(spaces, tmp_path, python):
    if shutil.which("babeld", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("no babeld: apt install babeld")
    found = Mesh(spaces, tmp_path, python)
    found.wait_ready()
    return found


def test_with_babeld_a_silent_platnode_is_left(mesh):
    """`make bench` measures how fast."""
    mesh.silence("plat1")
    wait_until(lambda: config(B) in mesh.translator.lines, "the change")
    # on a busy machine babel's own hellos may have been late enough to withdraw the route before the probes say so
    assert re.search("previous one lost: (its exit: )?(no answer|its route)", mesh.prefixd.log())
    mesh.spaces.run("plat1", "nft", "delete table inet off")
    mesh.prefixd.wait_chosen(A)  # nearer, and well again for a while


def test_with_babeld_a_withdrawn_plat_is_left_before_probes_go_unanswered(mesh):
    mesh.spaces.run("plat1", "ip", "-6", "route", "del", A + "/96", "dev", "lo", "proto", "static")
    mesh.spaces.run("plat1", "ip", "-6", "route", "del", "local", A + "/96", "dev", "lo")
    wait_until(lambda: config(B) in mesh.translator.lines, "the change")
    assert re.search("previous one lost: (?!no answer)", mesh.prefixd.log())


def test_with_babeld_restarting_the_plat_stays(mesh):
    mesh.babelds["node"].kill()  # its routes stay in the kernel
    mesh.babelds["node"].wait()
    wait_until(lambda: mesh.prefixd.status()["babel_away"], "the notice")
    mesh.start_babeld("node", ("plat1", "plat2"))
    wait_until(lambda: not mesh.prefixd.status()["babel_away"], "the return")
    assert mesh.prefixd.chosen() == A
    assert mesh.translator.lines == []


# --- exits that are none

NOTICE_S = 10 * TIMEOUT_SCALE  # what babel alone takes to notice that a node is dead
FALSE = [plat(number) for number in range(0x1000, 0x1000 + 600)]


def join_liar(mesh):
    """A neighbour with the best link there is announces 600 exits, and none of them answers."""
    mesh.spaces.add("liar")
    mesh.spaces.link("node", "liar")
    routes = mesh.folder / "routes"
    routes.write_text("".join(f"route add blackhole {prefix}/96 proto static\n" for prefix in FALSE))
    mesh.spaces.run("liar", "ip", "-6", "-batch", str(routes))
    mesh.start_babeld("liar", ("node",))
    mesh.tell_babeld("node", "interface liar type wired rxcost 16 hello-interval 1 update-interval 1")


def test_with_babeld_600_exits_of_one_router_that_are_none_change_nothing(mesh):
    join_liar(mesh)
    wait_until(lambda: mesh.prefixd.status()["babel_counts"]["crowded"] >= 590, "the liar's routes")
    wait_until(lambda: count(mesh, "down") >= 3, "verdicts on the few that are taken")
    status = mesh.prefixd.status()
    assert (status["candidates"], mesh.prefixd.chosen(), mesh.translator.lines) == (6, A, [])
    begun = time.monotonic()
    mesh.silence("plat1")
    wait_until(lambda: mesh.translator.lines, "the change")
    took_s = mesh.translator.times[-1] - begun
    assert took_s <= NOTICE_S, took_s
    wait_until(lambda: A not in answering(mesh), "the verdict on the one that is silent")
    assert mesh.translator.lines == [config(B)]


def count(mesh, state):
    return [plat["state"] for plat in mesh.prefixd.status()["plats"]].count(state)


def probes_sent(mesh):
    return mesh.prefixd.status(b"chosen")["probe_counts"]["sent"]


def answering(mesh):
    plats = mesh.prefixd.status()["plats"]
    return {plat["prefix"].removesuffix("/96") for plat in plats if plat["state"] == "good"}


def test_600_exits_of_as_many_routers_that_are_none_are_never_used_while_one_answers(
    spaces, tmp_path, python
):
    node = Node(spaces, tmp_path, python, BOTH)
    # what goes there is lost without a word
    spaces.add("sink")
    spaces.link("node", "sink")
    for command in (
        "neigh add fe80::dead lladdr 02:00:00:00:de:ad dev sink",
        "route add default via fe80::dead dev sink",
    ):
        spaces.run("node", "ip", "-6", *command.split())
    node.prefixd.wait_chosen(A)
    wait_until(lambda: answering(node) == {A, B}, "answers of both")
    node.babel.say("".join(route(prefix, 50, route_id=0x1000 + i) for i, prefix in enumerate(FALSE)))
    wait_until(lambda: node.prefixd.candidates() == 602, "all of them")
    sent = probes_sent(node)
    wait_until(lambda: probes_sent(node) >= sent + 50, "questions to some of them")
    begun = time.monotonic()
    spaces.run("node", "ip", "-6", "route", "del", "local", A + "/96", "dev", "lo")
    wait_until(lambda: len(node.translator.lines) > 1, "the change")
    took_s = node.translator.times[-1] - begun
    assert node.translator.lines == [config(A), config(B)]
    assert took_s <= NOTICE_S, took_s
    # and the start of another, which knows nothing of anybody
    node.prefixd.process.kill()
    node.prefixd.process.wait()
    node.babel.table = [*(route(prefix, 50, route_id=i) for i, prefix in enumerate(FALSE)), *BOTH]
    del node.translator.lines[:]
    node.prefixd = node.start()
    node.prefixd.wait_chosen(B)
    assert len(node.translator.lines) <= 2  # at most the one that is taken on trust
