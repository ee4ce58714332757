# SPDX-License-Identifier: ISC
"""Pairs of other nodes' clients in the module nat46, as its control file takes and shows them; slow translators."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from nat46_module import Module

from l3roamd_py.kernel import translator as translators
from l3roamd_py.kernel.translator import Translator
from l3roamd_py.pairs import start_script
from runtime.loop import Poller
from xlat464.address import parse_ipv4, parse_ipv6

EXIT = "local.v4 10.46.0.0/16 local.v6 fddd:1337:1337:200:0:a::/96 local.style RFC6052"
PEERS = [
    (parse_ipv4(f"10.46.253.{number}"), parse_ipv6(f"fddd:1337:1337:1234:5678:9abc:a2e:fd{number:02x}"))
    for number in (191, 192, 254)
]


@pytest.fixture
def module(tmp_path):
    """The module, its control file, and a translator that writes to it."""
    made, control = Module(), tmp_path / "control"
    made.write(b"add clat\n")
    made.write(f"config clat {EXIT}\n".encode())
    control.write_text("")
    return made, control, make(control)


def make(path):
    return Translator("clat", str(path), start_script, time.monotonic)


def tell(act, *pair):
    """What becomes of a command, "" if it was carried out."""
    said = []
    act(*pair, said.append)
    act.__self__.finish()
    (why_not,) = said
    return why_not


def carry_out(module, control):
    """What was written is one command, of one line."""
    command = control.read_text()
    assert command.count("\n") == 1
    module.write(command.encode())
    control.write_text(module.read())


def test_pairs_come_before_that_of_the_exit_and_go_one_by_one(module):
    nat46, control, translator = module
    before = nat46.read()
    for ipv4, ipv6 in PEERS:
        assert tell(translator.insert, ipv4, ipv6) == ""
        carry_out(nat46, control)
    assert sorted(translator.pairs()) == sorted(PEERS), "although the listing is cut off"
    nat46.write(b"config clat remote.v4 0.0.0.0/0 remote.v6 fddd:1338::/96 remote.style RFC6052\n")
    control.write_text(nat46.read())
    assert sorted(translator.pairs()) == sorted(PEERS), "prefixd's command is for the last"
    assert tell(translator.remove, *PEERS[1]) == ""
    carry_out(nat46, control)
    assert sorted(translator.pairs()) == [PEERS[0], PEERS[2]]
    for peer in (PEERS[0], PEERS[2]):
        assert tell(translator.remove, *peer) == ""
        carry_out(nat46, control)
    assert translator.pairs() == []
    assert nat46.read().count("\n") == before.count("\n")


def test_a_translator_that_is_not_there_is_said(tmp_path):
    translator = make(tmp_path / "none" / "control")
    assert "did not take `insert clat" in tell(translator.insert, *PEERS[0])


class Siit:
    """A translator that answers a command when it is let go on."""

    def __init__(self, path, answer=b"ok\n"):
        self.path, self.answer, self.commands, self.may = path, answer, [], threading.Semaphore(0)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            with peer:
                self.commands.append(peer.recv(4096).decode().split()[0])
                self.may.acquire()
                with contextlib.suppress(OSError):  # who asked did not wait
                    peer.sendall(self.answer)


@pytest.fixture
def slow(tmp_path):
    siit = Siit(tmp_path / "socket")
    yield siit
    siit.listener.close()
    for _ in range(8):
        siit.may.release()


def attended(path):
    """A translator in a loop, which must never wait; and what it tells."""
    translator, poller = make(path), Poller()
    translator.sources.attend(poller, translator.go_on)

    def turn(until, for_s=10.0):
        end_s = time.monotonic() + for_s
        while not until() and time.monotonic() < end_s:
            begun_s = time.monotonic()
            poller.wait(20)
            translator.go_on()
            assert time.monotonic() - begun_s < 0.25, "the loop stood still"
        return until()

    return translator, turn


def test_the_loop_goes_on_while_siit_takes_its_time_and_commands_keep_their_order(slow):
    translator, turn = attended(slow.path)
    told, begun_s = [], time.monotonic()
    translator.insert(*PEERS[0], lambda why_not: told.append(("insert", why_not)))
    translator.remove(*PEERS[0], lambda why_not: told.append(("remove", why_not)))
    assert time.monotonic() - begun_s < 0.25
    assert not turn(lambda: told, for_s=0.2)
    slow.may.release()
    assert turn(lambda: told)
    assert turn(lambda: len(slow.commands) == 2)
    assert told == [("insert", "")]
    slow.may.release()
    assert turn(lambda: len(told) == 2)
    assert (told[1], slow.commands) == (("remove", ""), ["insert", "remove"])
    assert translator.next_deadline_s is None


def test_who_waits_behind_a_command_that_is_not_answered_is_told_at_once(slow):
    translator, turn = attended(slow.path)
    told, begun_s = [], time.monotonic()
    for _ in range(translators.WAITING_MAX + 2):
        translator.insert(*PEERS[0], told.append)
    assert len(told) == 1
    assert "too many wait" in told[0]
    assert turn(lambda: len(told) == translators.WAITING_MAX + 2)
    assert time.monotonic() - begun_s < translators.ANSWER_S + 2
    assert all(told)
    assert translator.next_deadline_s is None


@pytest.mark.parametrize("answer", [b"error: no such pair\n", b"", b"o"])
def test_what_siit_refuses_or_leaves_without_a_word_is_said(tmp_path, answer):
    siit = Siit(tmp_path / "socket", answer)
    siit.may.release()
    assert tell(make(siit.path).remove, *PEERS[0])
    siit.listener.close()


HELD = """
import sys, time
from test_l3roamd_translator import PEERS, attended, subprocess
held = ["flock", "/proc/self/ns/net", "sh", "-c", "echo; sleep 1.2"]
holder = subprocess.Popen(held, stdout=subprocess.PIPE)
holder.stdout.readline()
translator, turn = attended(sys.argv[1])
told = []
translator.insert(*PEERS[0], told.append)
assert not turn(lambda: told, for_s=0.5)
assert not open(sys.argv[1]).read()
assert turn(lambda: told)
assert told == [""], told
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace")
def test_the_loop_goes_on_while_somebody_has_the_lock_of_nat46(tmp_path):
    control = tmp_path / "control"
    control.write_text("")
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    words = ["unshare", "--net", sys.executable, "-c", HELD, str(control)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert control.read_text().startswith("insert clat remote.v4 ")
