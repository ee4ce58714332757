# SPDX-License-Identifier: ISC
"""The control socket itself: peers that are slow, silent, too many or full of garbage are borne."""

import contextlib
import errno
import os
import select
import socket
import time
from types import SimpleNamespace

import pytest

from l3roamd_py import control
from l3roamd_py.control import CommandError, parse
from l3roamd_py.daemon import PEER_S
from prefixd.link_roaming import Roaming
from runtime import server
from runtime.lock import Lock
from runtime.loop import Poller
from runtime.server import Server, SocketError


class Loop:
    """A server and its poller, in steps. answer: what a command gets."""

    def __init__(self, path, answer):
        self.path = path
        self.now_s = 0.0
        self.poller = Poller()
        self.command_answer = answer
        self.server = Server(str(path), self.poller, lambda: self.now_s, PEER_S, self)

    def line_bytes(self, data):
        return control.line_bytes(data)

    def answer(self, line):
        return (self.command_answer(parse(line)),)

    def step(self, now_s=0.0, rounds=10):
        self.now_s = now_s
        for _ in range(rounds):
            ready = self.poller.ready(0)
            for descriptor in ready:
                self.poller.call(descriptor)
            if not ready:
                break
        self.server.tick(now_s)

    def connect(self, data=b""):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(30)
        peer.connect(str(self.path))
        peer.sendall(data)
        return peer

    def ask(self, data):
        with self.connect(data) as peer:
            self.step()
            answer = b""
            while piece := peer.recv(1 << 16):
                answer += piece
                self.step()
            return answer


@pytest.fixture
def loop(tmp_path):
    asked = []

    def answer(command):
        asked.append(command.name)
        if command.name == "get_roams":
            raise CommandError("no")
        return "x" * 3_000_000 if command.name == "get_status" else "OK"

    made = Loop(tmp_path / "sock", answer)
    made.asked = asked
    yield made
    made.server.close()


def test_a_connection_carries_one_command_and_ends(loop):
    assert loop.ask(b"get_clients\nget_meshifs\n") == b"OK"
    assert loop.asked == ["get_clients"]
    assert loop.ask(b"get_roams\n") == b"error: no\n"
    assert loop.ask(b"foo\n").startswith(b"error: 'foo' is no command")
    assert loop.server.counters["socket_refused"] == 2


def test_what_the_system_refuses_is_an_error_and_no_empty_answer(loop):
    def refuse(_command):
        raise OSError(errno.ENETDOWN, "")

    loop.command_answer = refuse
    assert loop.ask(b"get_clients\n") == b"error: Network is down\n"


def test_without_descriptors_the_eldest_gives_way_and_nobody_waits_in_a_hurry(loop, monkeypatch):
    first = loop.connect()
    loop.step()
    monkeypatch.setattr(loop.server, "_listener", Exhausted(loop.server._listener, 1))
    assert loop.ask(b"get_clients\n") == b"OK"
    assert first.recv(9) == b""
    loop.server._listener.refusals = 1
    waiting = loop.connect(b"get_clients\n")
    loop.step(1.0)
    assert loop.poller.ready(0) == [], "it would be told again and again"
    loop.step(loop.server.next_deadline)
    loop.step(loop.now_s)
    assert waiting.recv(9) == b"OK"
    first.close()
    waiting.close()


class Exhausted:
    """A listener in a process that has no descriptor for a connection, so many times."""

    def __init__(self, listener, refusals):
        self.listener, self.refusals = listener, refusals

    def accept(self):
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "")
        return self.listener.accept()

    def fileno(self):
        return self.listener.fileno()

    def close(self):
        self.listener.close()


def test_a_line_without_its_end_is_carried_out_when_the_peer_has_no_more_to_say(loop):
    with loop.connect(b"get_clients") as peer:
        loop.step()
        assert loop.asked == []
        peer.shutdown(socket.SHUT_WR)
        loop.step()
        assert peer.recv(9) == b"OK"


def test_a_command_may_come_byte_by_byte(loop):
    with loop.connect() as peer:
        for byte in b"get_clients\n":
            peer.send(bytes((byte,)))
            loop.step()
        assert peer.recv(9) == b"OK"


def test_a_peer_that_does_not_wait_for_the_answer_is_heard_in_its_turn(loop):
    for name in (b"get_clients", b"get_meshifs", b"get_prefixes") * 5:
        loop.connect(name + b"\n").close()
    loop.step()
    assert loop.asked == ["get_clients", "get_meshifs", "get_prefixes"] * 5


def test_who_is_silent_is_sent_away_in_time(loop):
    with loop.connect(b"get_cl") as peer:
        loop.step(10.0)
        assert loop.server.next_deadline == 10.0 + PEER_S
        loop.step(14.9)
        loop.step(15.0)
        assert peer.recv(9) == b""
    assert loop.server.next_deadline is None
    assert loop.server.counters["socket_late"] == 1


def test_a_crowd_costs_the_eldest_their_place_and_nobody_else(loop):
    peers = []
    for _ in range(3 * server.PEERS_MAX):
        peers.append(loop.connect())
        loop.step()
    assert loop.server.counters["socket_crowded"] == 2 * server.PEERS_MAX
    assert loop.ask(b"get_clients\n") == b"OK"
    for peer in peers:
        peer.close()


def test_who_reads_nothing_holds_no_more_than_there_is_room_for(loop):
    peers = []
    for _ in range(8):
        peers.append(loop.connect(b"get_status\n"))
        loop.step()
    unread = sum(len(peer.unread) for peer in loop.server._peers.values())
    assert unread <= server.ROOM_BYTES
    assert loop.ask(b"get_clients\n") == b"OK"
    for peer in peers:
        peer.close()


def test_a_large_answer_comes_whole_to_who_reads_it(loop):
    assert loop.ask(b"get_status\n") == b"x" * 3_000_000


@pytest.mark.parametrize("extra", [1, 5_000, 100_000])
def test_a_line_that_is_too_long_is_told_so_and_not_cut_off(loop, extra):
    with loop.connect() as peer:
        peer.setblocking(False)
        unsent = memoryview(b"x" * (control.LINE_BYTES + extra) + b"\n")
        while unsent:
            unsent = unsent[peer.send(unsent) :]
            loop.step()
        loop.step()
        assert peer.recv(1 << 16) == b"error: the line has more than 1024 bytes, expected one command\n"
        assert peer.recv(9) == b""  # an end, no reset
    loop.step()
    assert loop.server.counters["socket_refused"] == 1
    assert loop.server.next_deadline is None


def test_a_line_without_end_ends_by_its_length_or_by_time(loop):
    with loop.connect() as endless, loop.connect(b"x" * 2000) as idle:
        endless.setblocking(False)
        sent = 0
        with contextlib.suppress(BrokenPipeError):
            while sent < 3 * server.DRAIN_BYTES:
                sent += endless.send(b"x" * 1000)
                loop.step()
        assert sent < 1.1 * server.DRAIN_BYTES
        unread = [peer.said for peer in loop.server._peers.values()]
        assert unread == [b""]  # of the idle one
        loop.step(PEER_S)
        assert idle.recv(99).startswith(b"error: the line has more")
    assert loop.server.next_deadline is None


def test_what_comes_behind_a_command_is_no_reset(loop):
    assert loop.ask(b"get_clients\n" + b"x" * 5000) == b"OK"


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(loop, tmp_path):
    with pytest.raises(SocketError, match="another daemon answers at"):
        server.listen(str(loop.path))
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    with server.listen(str(stale)) as listener:
        assert listener.fileno() >= 0
    assert stale.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(SocketError, match="is there and no socket"):
        server.listen(str(file))
    assert file.read_text() == "precious"


def test_one_daemon_a_socket(tmp_path):
    path = str(tmp_path / "sock")
    lock = Lock(path, "l3roamd_py")
    with pytest.raises(SocketError, match=r"another l3roamd_py uses .* or choose another --socket"):
        Lock(path, "l3roamd_py")
    lock.release()
    Lock(path, "l3roamd_py").release()
    assert not list(tmp_path.iterdir())


def test_nothing_here_takes_long(loop):
    begun_s = time.monotonic()
    for _ in range(200):
        loop.ask(b"get_clients\n")
    assert time.monotonic() - begun_s < 30


def test_prefixd_says_of_a_roaming_daemon_with_nothing_to_tell_it_that_it_is_there(tmp_path):
    path = str(tmp_path / "l3roamd.sock")
    link = Roaming(path, lambda: None, SimpleNamespace(state="untouched"))
    seen = [link.state]
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        link.tick(0)
        seen.append(link.state)
    os.unlink(path)
    link.tick(link.deadline_ms())
    assert [*seen, link.state] == ["not there", "there", "not there"]


def test_prefixd_says_at_a_failover_what_is_chosen_and_lost_in_one_line_when_the_translator_has_it(tmp_path):
    path = str(tmp_path / "l3roamd.sock")
    old, new = bytes(11) + b"\1" + bytes(4), bytes(11) + b"\2" + bytes(4)
    lost, translator = [], SimpleNamespace(state="set")
    link = Roaming(path, lambda: ([new], lost), translator)

    def told():
        lines = []
        while select.select([daemon], [], [], 0)[0]:
            with daemon.accept()[0] as peer:
                lines.append(peer.recv(1000).decode())
        return lines

    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        daemon.listen()
        link.use(old)
        link.tick(0)
        assert told() == ["set_platprefix ::1:0:0/96\n", "plats ::2:0:0/96 lost end\n"]
        lost.append(old)
        translator.state = "waiting"
        link.use(new)
        link.lose(old)
        link.tick(1)
        assert (told(), link.deadline_ms()) == ([], None)
        translator.state = "failing: no answer"
        link.tick(2)
        assert told() == ["plats ::2:0:0/96 lost ::1:0:0/96 end\n"]
        translator.state = "set"
        link.tick(link.deadline_ms())
        assert told() == ["set_platprefix ::2:0:0/96 ::1:0:0/96\n"]
        link.tick(link.deadline_ms())
        assert told() == []
