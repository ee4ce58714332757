# SPDX-License-Identifier: ISC
"""The programs that the roaming daemon runs: nothing of them stays, however it ends."""

import sys
import textwrap

import micropython
import pytest
from node_lab import NEEDS, REPOSITORY
from waiting import wait_until

pytestmark = NEEDS

PYTHONS = {"cpython": sys.executable, **dict(list(micropython.find().items())[:1])}
BEGIN = """
    import os, socket
    from l3roamd_py.netfilter.rules import RulesError
    from l3roamd_py.netfilter.program import Child, run
"""


@pytest.fixture(params=PYTHONS)
def machine(machines, request):
    machine = machines("node")

    def carry_out(text, before=""):
        paths = f"PYTHONPATH={REPOSITORY} MICROPYPATH={REPOSITORY}:.frozen"
        words = f'{before} {paths} exec {PYTHONS[request.param]} -c "$0"'
        return machine.run(["sh", "-c", words, textwrap.dedent(BEGIN) + textwrap.dedent(text)], check=False)

    machine.carry_out = carry_out
    return machine


def test_a_program_runs_where_nothing_can_be_written(machine):
    for folder in ("/tmp", "/dev/shm", "/run"):
        machine.run(f"mount -t tmpfs -o ro tmpfs {folder}")
    machine.run("mount -o remount,bind,ro /")
    done = machine.carry_out("print(run(['cat'], 'a line'))")
    assert done.stdout.split("\n")[0] == "a line", done.stderr


def test_a_program_goes_on_when_we_are_killed_and_nothing_else_is_left(machine):
    for folder in ("/tmp", "/dev/shm"):
        machine.run(f"mount -t tmpfs tmpfs {folder}")
    text = """
        Child(["sh"], "sleep 0.3; echo something that nobody reads; : >/run/done")
        os.system("kill -9 $PPID")
    """
    assert machine.carry_out(text).returncode in (-9, 137)
    wait_until(lambda: "done" in machine.output("ls /run"), "its end")
    assert machine.output("ls -A /tmp /dev/shm").split() == ["/dev/shm:", "/tmp:"]
    assert set(machine.output("ls /run").split()) - {"mount"} == {"done"}


def test_without_descriptors_no_program_runs_and_none_is_lost(machine):
    text = """
        held, results = [], []
        def count():
            return len(os.listdir("/proc/self/fd"))
        run(["true"])
        before = count()
        try:
            while True:
                held.append(socket.socket())
        except OSError:
            pass
        for _ in range(8):
            try:
                run(["true"])
                results.append("ran")
            except RulesError as error:
                results.append("refused")
            held.pop().close()
        while held:
            held.pop().close()
        assert count() == before, (count(), before)
        print(" ".join(results))
    """
    done = machine.carry_out(text, "ulimit -n 64;")
    results = done.stdout.split()
    assert results == sorted(results, reverse=True), done
    assert results[0] == "refused"
    assert results[-1] == "ran"


def test_who_waits_for_a_program_says_so(machine):
    text = """
        from l3roamd_py.netfilter import program
        program.PATIENCE_S = 0.2
        run(["true"])
        run(["sleep", "0.5"])
    """
    said = machine.carry_out(text).stderr.strip().split("\n")
    assert len(said) == 1
    assert said[0].startswith("l3roamd_py: waiting for sleep"), said


def test_whoever_is_connected_hears_the_end_of_an_answer_while_a_program_runs(machine):
    """With the shell of OpenWrt, which MicroPython needs for it."""
    machine.run(["sh", "-c", "mount --bind $(command -v busybox) /bin/sh"])
    text = """
        from runtime.loop import Poller
        from runtime.server import Server
        from runtime.sockets import open_stream, receive, unix_address
        class Language:
            def line_bytes(self, data):
                return 100
            def answer(self, line):
                return ("OK",)
        poller = Poller()
        server = Server("/run/sock", poller, lambda: 0.0, 5.0, Language())
        peers = [open_stream(socket.AF_UNIX, unix_address("/run/sock")) for _ in range(12)]
        poller.wait(1000)
        child = Child(["sleep", "5"])
        for peer in peers:
            peer.send(b"a line\\n")
        said = [b""] * len(peers)
        for _ in range(100):
            poller.wait(10)
        for peer in peers:
            assert receive(peer) == b"OK"
            assert receive(peer) == b"", "the end"
        assert not child.has_ended()
        print("ended")
    """
    done = machine.carry_out(text)
    assert done.stdout.strip() == "ended", done
