# SPDX-License-Identifier: ISC
"""prefixd against babeld and against scripted neighbours, in namespaces, on both Pythons."""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time

import micropython
import pytest
from prefixd_lab import (
    REPOSITORY,
    FakeBabeld,
    LineServer,
    Namespaces,
    Prefixd,
    plat,
    route,
    xroute,
)
from waiting import wait_until

from sdk.timeouts import TIMEOUT_SCALE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")
SOURCE = "fddd:1337:1337:a::c000:1"
A, B = plat(1), plat(2)
PYTHONS = [sys.executable, *map(str, list(micropython.find().values())[:1])]  # the oldest


def config(prefix):
    return f"config clat remote.v4 0.0.0.0/0 remote.v6 {prefix}/96 remote.style RFC6052"


@pytest.fixture(params=PYTHONS, ids=["cpython", "micropython"][: len(PYTHONS)])
def python(request):
    return request.param


@pytest.fixture
def spaces():
    with Namespaces() as found:
        yield found


def local(spaces, name, *prefixes):
    """Let the namespace be these PLATs: it answers for all of their addresses."""
    for prefix in prefixes:
        spaces.run(name, "ip", "-6", "route", "add", "local", prefix + "/96", "dev", "lo")


def unlocal(spaces, name, prefix, kind="unreachable"):
    spaces.run(name, "ip", "-6", "route", "del", "local", prefix + "/96", "dev", "lo")
    spaces.run(name, "ip", "-6", "route", "add", kind, prefix + "/96")


class Node:
    """One node whose PLATs are on itself, with a scripted babeld, translator and roaming daemon."""

    def __init__(self, spaces, folder, python, table=(), start=True, **options):
        self.spaces = spaces
        self.folder = folder
        spaces.add("node")
        spaces.run("node", "ip", "addr", "add", SOURCE + "/128", "dev", "lo", "nodad")
        local(spaces, "node", A, B)
        self.babel = FakeBabeld(folder / "babel", table)
        self.translator = LineServer(folder / "control")
        self.options = {"source": SOURCE, "probe_ipv4": "9.9.9.9", **options}
        self.python = python
        self.prefixd = self.start() if start else None

    def start(self, **options):
        return Prefixd(self.spaces, "node", self.folder, self.python, **{**self.options, **options})


BOTH = [route(A, 300), route(B, 448, route_id=0xB)]


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


# --- with real babelds


RXCOST = {"plat2": 256, "liar": 16}  # of a link by its farther end


class Mesh:
    """A node between two platnodes, each with a babeld of its own; the way to B costs more."""

    BABEL = "[::1]:33123"  # where the node's prefixd reads

    def __init__(self, spaces, folder, python):
        self.spaces = spaces
        self.folder = folder
        self.babelds = {}
        for name in ("node", "plat1", "plat2"):
            spaces.add(name)
        for name, prefix in (("plat1", A), ("plat2", B)):
            spaces.link("node", name)
            local(spaces, name, prefix)
            # what babeld redistributes; the local route above answers, as the translator would
            spaces.run(name, "ip", "-6", "route", "add", prefix + "/96", "dev", "lo", "proto", "static")
        spaces.run("node", "ip", "addr", "add", SOURCE + "/128", "dev", "lo", "nodad")
        spaces.run(
            "node", "ip", "-6", "route", "add", "fddd:1337:1337:a::/96", "dev", "lo", "proto", "static"
        )
        for name, links in (("node", ("plat1", "plat2")), ("plat1", ("node",)), ("plat2", ("node",))):
            self.start_babeld(name, links)
        self.translator = LineServer(folder / "control")
        self.prefixd = Prefixd(
            spaces, "node", folder, python, source=SOURCE, probe_ipv4="9.9.9.9", hold_s=2, babel=self.BABEL
        )

    def start_babeld(self, name, links):
        lines = [
            f"interface {link} type wired rxcost {RXCOST.get(name) or RXCOST.get(link, 96)} "
            "hello-interval 1 update-interval 1\n"
            for link in links
        ]
        lines += [
            "redistribute ip fddd:1337:1337::/48 eq 96 allow\n",
            "redistribute ip fddd:1337:1338::/48 eq 96 allow\n",
            "redistribute local deny\nredistribute deny\n",
        ]
        file = self.folder / f"{name}.conf"
        file.write_text("".join(lines))
        words = [
            "babeld",
            "-c",
            str(file),
            "-I",
            str(self.folder / f"{name}.pid"),
            "-S",
            str(self.folder / f"{name}.state"),  # babeld deletes it at the start: never a device
            "-G",
            "33123",
        ]
        (self.folder / f"{name}.pid").unlink(missing_ok=True)
        self.babelds[name] = self.spaces.start(
            name, words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def tell_babeld(self, name, line):
        """Say a line of configuration to a babeld that runs."""
        script = "import socket, sys; s = socket.create_connection(('::1', 33123)); s.sendall(sys.argv[1].encode()); "
        script += "s.settimeout(10); said = b''\nwhile said.count(b'ok\\n') < 2: said += s.recv(4096)"
        self.spaces.run(name, sys.executable, "-c", script, line + "\n")

    def wait_ready(self):
        self.prefixd.wait_chosen(A)
        good = ["good", "good"]
        wait_until(lambda: [p["state"] for p in self.prefixd.status()["plats"]] == good, "both PLATs")
        wait_until(lambda: config(A) in self.translator.lines, what="the nearer PLAT")
        self.translator.lines.clear()  # the farther one may have been there first

    def silence(self, name):
        """Power off without a word: nothing gets in or out."""
        for command in (
            "add table inet off",
            "add chain inet off in { type filter hook input priority 0; policy drop; }",
        ):
            self.spaces.run(name, "nft", command)
        self.spaces.run(
            name, "nft", "add chain inet off out { type filter hook output priority 0; policy drop; }"
        )


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
