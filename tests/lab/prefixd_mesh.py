# SPDX-License-Identifier: ISC
"""A node between PLATs, for prefixd's tests: with a scripted babeld, and in a mesh of real ones."""

import subprocess
import sys

import micropython
import pytest
from prefixd_lab import (
    FakeBabeld,
    LineServer,
    Namespaces,
    Prefixd,
    plat,
    route,
)
from waiting import wait_until

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
