# SPDX-License-Identifier: ISC
"""prefixd against a scripted babeld, in namespaces, on both Pythons."""

import os
import random
import re
import socket
import subprocess
import sys
import time

import pytest
from prefixd_lab import (
    REPOSITORY,
    FakeBabeld,
    LineServer,
    plat,
    route,
    xroute,
)
from prefixd_mesh import BOTH, A, B, Node, config, unlocal
from waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


def test_the_nearest_plat_is_set_and_the_hook_runs_after_the_translator(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    wait_until(node.prefixd.hooked, what="the hook")
    assert node.translator.lines == [config(A)]
    assert node.prefixd.hooked() == ["use"]
    shown = subprocess.run(
        [REPOSITORY / "bin" / "prefixd", "--status", "--socket", node.prefixd.socket],
        capture_output=True,
        text=True,
        env={**os.environ, "PREFIXD_PYTHON": python},
    )
    assert f"PLAT      {A}/96" in shown.stdout
    assert "lowest metric (300, next 448)" in shown.stdout


def test_an_error_of_the_translator_is_said_and_repeated_until_it_works(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH, start=False)
    node.translator.answer = b"error: no device clat\n"
    node.prefixd = node.start()
    wait_until(lambda: len(node.translator.lines) >= 2, what="the second try")
    assert node.prefixd.hooked() == []
    assert node.prefixd.log().count("no device clat") == 1
    node.translator.answer = b"anything\nok\n"
    wait_until(lambda: node.prefixd.hooked() == ["use"], what="the hook")


def test_a_control_file_gets_one_command(spaces, tmp_path, python):
    target = tmp_path / "nat46"
    target.touch()
    node = Node(spaces, tmp_path, python, BOTH, target=target)
    wait_until(lambda: target.read_text() == config(A) + "\n", what="the write")
    wait_until(node.prefixd.hooked, what="the hook")


def test_metrics_that_change_and_routes_that_go_are_followed(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH, hold_s=1)
    node.prefixd.wait_chosen(A)
    node.babel.say(route(B, 200, "change", route_id=0xB))
    node.prefixd.wait_chosen(B)
    assert "metric 200 beats 300 for 1 s" in node.prefixd.status()["why"]
    node.babel.say(route(B, 200, "flush", route_id=0xB))
    node.prefixd.wait_chosen(A)
    assert (
        node.prefixd.status()["why"] == "previous one lost: its route was withdrawn"
    )  # no second of patience
    node.babel.say(route(A, 65535, "change"))
    wait_until(lambda: node.prefixd.hooked()[-1] == "stop", "the stop")
    node.babel.say(route(A, 300, "change"))
    node.prefixd.wait_chosen(A)


def test_the_own_plat_is_used_and_left_when_its_exit_fails(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, [route(A, 96), xroute(B)])
    node.prefixd.wait_chosen(B)
    assert node.prefixd.status()["why"] == "own PLAT"
    spaces.run("node", "ip", "-6", "route", "add", "unreachable", B[:-1] + "909:909/128", "table", "local")
    node.prefixd.wait_chosen(A)
    spaces.run("node", "ip", "-6", "route", "del", "unreachable", B[:-1] + "909:909/128", "table", "local")
    node.babel.say(xroute(B, "flush"))
    wait_until(lambda: node.prefixd.status()["candidates"] == 1, what="the loss of the own PLAT")


def test_an_own_plat_needs_no_babeld(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, own_plat=B + "/96", babel=tmp_path / "nowhere")
    node.prefixd.wait_chosen(B)


def test_without_plats_the_clients_are_told(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python)
    wait_until(lambda: node.prefixd.hooked() == ["stop"], what="the stop")
    assert node.translator.lines == []
    assert node.prefixd.status()["why"] == "no PLAT has a route"


def test_a_plat_behind_no_route_is_left_before_probes_go_unanswered(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    wait_until(lambda: all(p["state"] == "good" for p in node.prefixd.status()["plats"]), what="both good")
    unlocal(spaces, "node", A)
    wait_until(lambda: config(B) in node.translator.lines, "the change")
    assert re.search("previous one lost: (?!no answer)", node.prefixd.log())


def test_babeld_may_restart_and_garble_and_the_plat_stays(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    for greeting in (b"", b"\xff" * 3000 + b"\n", b"BABEL 1.0\nok", None):
        node.babel.close()
        node.babel.greeting = (
            greeting if greeting is not None else FakeBabeld.__init__.__globals__["GREETING"]
        )
        time.sleep(0.3)
        if greeting is None:
            node.babel.table = []
        node.babel.open()
        time.sleep(0.7)
        assert node.prefixd.chosen() == A
    wait_until(lambda: node.babel.monitored == 2, "the reconnection")
    assert all(p["stale"] for p in node.prefixd.status()["plats"])
    node.babel.say(route(A, 310, route_id=0xAA) + route(B, 450, route_id=0xBB))
    wait_until(lambda: not node.prefixd.status()["babel_away"], what="the end of the restart")
    assert node.prefixd.chosen() == A
    assert node.translator.lines == [config(A)]


def test_a_flood_of_garbage_from_babeld_changes_nothing(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    chance = random.Random(464)
    for _ in range(300):
        line = bytearray(route(chance.choice([A, B]), 300).encode())
        # behind the verb and the noun, so that each is still about a route
        middle = line.index(b"installed")
        for _ in range(chance.randrange(1, 5)):
            at = middle + chance.randrange(13)
            line[at : at + 1] = chance.randbytes(chance.randrange(3)).replace(b"\n", b"").replace(b" ", b"")
        node.babel.say(bytes(line))
    node.babel.say(b"x" * 5000 + b"\n" + bytes(range(1, 256)) + b"\n")
    node.babel.say(route(plat(3), 9999, route_id=0xC))
    wait_until(lambda: node.prefixd.status()["candidates"] == 3, what="the line behind the garbage")
    status = node.prefixd.status()
    assert status["babel_counts"]["malformed"] > 200
    assert status["babel_counts"]["overlong"] >= 1
    assert node.prefixd.chosen() == A


def test_the_roaming_daemon_is_told_when_it_comes_and_when_plats_go(spaces, tmp_path, python):
    roaming = tmp_path / "l3roamd"
    node = Node(spaces, tmp_path, python, BOTH, l3roamd=roaming)
    node.prefixd.wait_chosen(A)
    daemon = LineServer(roaming, answer=b"")
    first = [f"set_platprefix {A}/96", f"plats {A}/96 {B}/96 lost end"]
    wait_until(lambda: daemon.lines == first, what="the first news")
    node.babel.say(route(A, 300, "flush"))
    then = [f"set_platprefix {B}/96", f"plats {B}/96 lost end"]
    wait_until(lambda: daemon.lines[2:] == then, what="the change")
    daemon.close()
    daemon = LineServer(roaming, answer=b"")
    wait_until(lambda: daemon.lines == then, what="the repetition")


def test_the_roaming_daemon_knows_what_was_lost_while_it_was_away_however_much_that_was(
    spaces, tmp_path, python
):
    roaming = tmp_path / "l3roamd"
    node = Node(spaces, tmp_path, python, BOTH, l3roamd=roaming)
    node.prefixd.wait_chosen(A)
    many = [plat(number) for number in range(10, 410)]
    for number, prefix in enumerate(many):
        node.babel.say(route(prefix, 5000 + number, route_id=0x100 + number))
    wait_until(lambda: node.prefixd.status()["candidates"] == 402, what="all of them")
    daemon = LineServer(roaming, answer=b"")
    wait_until(lambda: len(daemon.lines) == 2, what="the first news")
    usable = daemon.lines[1].split(" lost ")[0].split()[1:]
    assert usable[:2] == [f"{A}/96", f"{B}/96"]
    assert len(usable) == 256, "the nearest of them"
    daemon.close()
    for number, prefix in enumerate(many):
        node.babel.say(route(prefix, 0, "flush", route_id=0x100 + number))
    wait_until(lambda: node.prefixd.status()["candidates"] == 2, what="their end")
    daemon = LineServer(roaming, answer=b"")
    wait_until(lambda: len(daemon.lines) == 2, what="the second news")
    usable, lost = daemon.lines[1].split(" lost ")
    assert usable == f"plats {A}/96 {B}/96"
    # those that had not answered before their routes went
    assert set(lost.split()) <= {f"{prefix}/96" for prefix in many} | {"end"}


def test_a_roaming_daemon_that_does_not_listen_blocks_nothing(spaces, tmp_path, python):
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(tmp_path / "l3roamd"))
    full.listen(0)
    crowd = []
    with pytest.raises(BlockingIOError):  # noqa: PT012  until the queue is full
        for _ in range(64):
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].setblocking(False)
            crowd[-1].connect(str(tmp_path / "l3roamd"))
    node = Node(spaces, tmp_path, python, BOTH, l3roamd=tmp_path / "l3roamd")
    node.prefixd.wait_chosen(A)
    node.babel.say(route(A, 300, "flush"))
    node.prefixd.wait_chosen(B)
    for sock in [*crowd, full]:
        sock.close()


def test_a_second_prefixd_is_refused_and_a_dead_ones_socket_is_taken(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    second = subprocess.run(
        [REPOSITORY / "bin" / "prefixd", *map(str, node.prefixd.words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PREFIXD_PYTHON": python},
    )
    assert second.returncode != 0
    assert second.stderr.count("\n") == 1
    assert "another daemon answers at" in second.stderr
    assert node.prefixd.chosen() == A
    node.prefixd.process.kill()
    node.prefixd.process.wait()
    third = node.start()
    third.wait_chosen(A)
    assert set(node.translator.lines) == {config(A)}


def test_sigterm_leaves_everything_as_it_is(spaces, tmp_path):
    node = Node(spaces, tmp_path, sys.executable, BOTH)
    node.prefixd.wait_chosen(A)
    wait_until(node.prefixd.hooked, what="the hook")
    node.prefixd.process.terminate()
    assert node.prefixd.process.wait(60) == 0
    assert node.prefixd.hooked() == ["use"]
    assert f"the translator stays as it is, at {A}/96" in node.prefixd.log()
    assert not node.prefixd.socket.exists()


def test_clients_of_the_control_socket_cannot_hold_it_up(spaces, tmp_path, python):
    node = Node(spaces, tmp_path, python, BOTH)
    node.prefixd.wait_chosen(A)
    idle = []
    for said in (b"", b"stat", b"x" * 300, b"nonsense\n", b"status\n"):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(str(node.prefixd.socket))
        idle[-1].sendall(said)
    assert node.prefixd.chosen() == A, node.prefixd.log()
    assert idle[3].recv(100).startswith(b"error:")
    whole, chosen = node.prefixd.status(), node.prefixd.status(b"chosen")
    assert len(whole["plats"]) == 2
    assert [plat["prefix"] for plat in chosen["plats"]] == [f"{A}/96"]
    assert (chosen["candidates"], chosen["why"]) == (2, whole["why"])
    for sock in idle:
        sock.close()
    assert node.prefixd.chosen() == A
