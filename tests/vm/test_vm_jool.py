# SPDX-License-Identifier: ISC
"""Jool as the platnode's engine, with its module: clients of clatnodes with siit reach the internet through NAT64.

The module is Debian's jool-dkms, built for the machine's kernel (`python -m sdk.vm.modules jool`).
"""

import json
import subprocess

import pytest
from conftest import load, wait_until

from sdk.lab import ECHO, WEB

MESH = """
[lab]
hello_interval_ms = 2000
[nodes.a]
role = "clat"
[nodes.b]
role = "clat"
[nodes.c]
role = "plat"
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[[links]]
between = ["a", "c"]
[clients.phone]
node = "a"
"""
BYTES = 3_000_000


@pytest.fixture(scope="module")
def lab(lab_modules, lab_of, monkeypatch_of_module):
    load("jool")
    monkeypatch_of_module()
    return lab_of(MESH)


@pytest.fixture(scope="module")
def monkeypatch_of_module():
    """A function by which platnodes of this module have Jool as their engine."""
    from sdk.lab.plan import Plan

    with pytest.MonkeyPatch.context() as patch:
        before = Plan.plat_options
        yield lambda: patch.setattr(Plan, "plat_options", lambda plan: [*before(plan), "--engine", "jool"])


def client(lab, *words):
    done = lab.exec("phone", ["python", "-m", "sdk.client", *words], check=False)
    return json.loads(done.stdout or "{}")


def sessions(lab, protocol):
    """Jool's own table on the platnode: who did the translation."""
    (space,) = lab.exec("c", ["ip", "netns", "list"]).stdout.split()[:1]
    words = [
        "ip",
        "netns",
        "exec",
        space,
        "jool",
        "-i",
        "464xlat",
        "session",
        "display",
        f"--{protocol}",
        "--numeric",
    ]
    return lab.exec("c", words).stdout


def test_jool_translates_tcp_udp_and_icmp(lab):
    assert lab.is_answered("phone")
    assert client(lab, "udp-echo", ECHO, "7", "1000")["same"]
    assert client(lab, "udp-echo", ECHO, "7", "3000")["same"], "in fragments"
    assert client(lab, "download", f"http://{WEB}/bytes/{BYTES}")["bytes"] == BYTES
    for protocol in ("tcp", "udp", "icmp"):
        assert "198.51.100" in sessions(lab, protocol), protocol


def test_an_open_connection_roams_in_front_of_jool(lab):
    code = (
        f"import socket, sys; s = socket.create_connection(({ECHO!r}, 7), 60); f = s.makefile('r'); print('ready', "
        "flush=True)\nfor line in sys.stdin: s.sendall(line.encode()); print(f.readline(), end='', flush=True)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    talk = lab.popen("phone", ["python", "-c", code], **pipes)
    try:
        assert talk.stdout.readline() == "ready\n"
        wait_until(lambda: lab.serving("phone"), what="the phone being served at a")
        for turn, node in enumerate(("b", "a")):
            lab.roam("phone", node)
            talk.stdin.write(f"{turn}\n")
            assert talk.stdout.readline() == f"{turn}\n"
            wait_until(lambda: lab.serving("phone"), what=f"the phone being served at {node}")
    finally:
        talk.kill()
        talk.communicate()


def test_a_reload_keeps_jools_sessions(lab):
    before = sessions(lab, "tcp")
    options = [*lab.plan.role_options(lab.node("c")), *lab.plan.plat_options()]
    lab.exec("c", ["464xlat", "plat", "up", *options])
    assert ECHO in before
    assert ECHO in sessions(lab, "tcp")
