# SPDX-License-Identifier: ISC
"""Cases of the control socket and the lock, for both Pythons."""

import os
import socket

from runtime import sockets
from runtime.lock import Lock
from runtime.loop import Poller
from runtime.server import PATH_BYTES, PEERS_MAX, Refused, Server, SocketError


class Words:
    """A language of the control socket: `long` is answered in pieces, `no` is refused."""

    def line_bytes(self, _data):
        return 20

    def answer(self, line):
        if line == b"no":
            raise Refused("expected yes")
        return ("x" * 1000 for _ in range(200)) if line == b"long" else (line.decode() + "!",)


def talk(poller, path, said, piece=1 << 16):
    """What a server answers to one peer, who says a piece at a time; both take their turns."""
    peer = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path))
    heard = b""
    for _ in range(10000):
        try:
            said = said[sockets.send(peer, said[:piece]) :] if said else said
        except OSError as error:
            assert (
                sockets.error_number(error) == sockets.EPIPE
            )  # MicroPython's has hung up at what it refused
            said = b""
        poller.wait(0)
        data = sockets.receive(peer, 1 << 16)
        if data == b"":
            peer.close()
            return heard
        heard += data or b""
    raise AssertionError("no end of the answer")


def case_server_answers_a_line_a_connection():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    poller = Poller()
    server = Server(path, poller, lambda: 0.0, 5.0, Words())
    try:
        assert talk(poller, path, b"hello\nagain\n") == b"hello!"
        assert talk(poller, path, b"no\n") == b"error: expected yes\n"
        assert talk(poller, path, b"long\n") == b"x" * 200000
        assert (
            talk(poller, path, b"z" * 5000 + b"\n")
            == b"error: the line has more than 20 bytes, expected one command\n"
        )
        silent = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path))
        poller.wait(0)
        assert server.next_deadline == 5.0
        server.tick(5.0)
        assert server.next_deadline is None and sockets.receive(silent) == b""
        silent.close()
        try:
            Server(path, poller, lambda: 0.0, 5.0, Words())
            raise AssertionError("two servers at one path")
        except SocketError as error:
            assert "another daemon answers" in str(error)
    finally:
        server.close()
    Server(path, poller, lambda: 0.0, 5.0, Words()).close()


def case_server_begins_while_a_program_of_one_that_was_killed_still_runs():
    """It waits for a lock, say."""
    path, poller = "/tmp/runtime-case-%s" % os.urandom(8).hex(), Poller()
    killed = Server(path, poller, lambda: 0.0, 5.0, Words())
    os.system("sleep 3 >/dev/null 2>&1 &")
    poller.close(killed._listener)
    Server(path, Poller(), lambda: 0.0, 5.0, Words()).close()


def case_server_answers_every_line_of_a_session():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    poller = Poller()
    server = Server(path, poller, lambda: 0.0, 5.0, Words(), True)
    too_long = b"error: the line has more than 20 bytes, expected one command\n"
    try:
        for said, heard in (
            (b"one\nno\ntwo\n" + b"z" * 21, b"one!error: expected yes\ntwo!" + too_long),
            (b"z" * 21 + b"\nnot carried out\n", too_long),
            (b"long\n" * 9 + b"z" * 99, b"x" * 1800000 + too_long),  # read while it is not said as a whole
        ):
            for piece in (1, 7, 1 << 16):
                assert talk(poller, path, said, piece) == heard
        silent, half = [sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path)) for _ in range(2)]
        for each in (silent, half):
            sockets.send(each, b"one\nhalf")
            poller.wait(0)
            assert sockets.receive(each) == b"one!" and sockets.receive(each) is None
        if hasattr(half, "shutdown"):  # MicroPython cannot say that it has no more to say
            half.shutdown(socket.SHUT_WR)
            poller.wait(0)
            sentence = b"the last line has no line feed behind it, so it was not carried out"
            assert sockets.receive(half) == b"error: " + sentence + b"\n"
        server.tick(5.0)
        assert sockets.receive(silent) == b""
        for each in (silent, half):
            each.close()
    finally:
        server.close()


def case_server_sends_away_the_session_that_is_silent_for_longest():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    poller = Poller()
    server = Server(path, poller, lambda: 0.0, 5.0, Words(), True)
    try:
        peers = []
        for _ in range(PEERS_MAX):
            peers.append(sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path)))
            poller.wait(0)
        sockets.send(peers[0], b"hello\n")
        poller.wait(0)
        peers.append(sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path)))
        poller.wait(0)
        assert [sockets.receive(each) for each in (peers[0], peers[1], peers[2])] == [b"hello!", b"", None]
        for each in peers:
            each.close()
    finally:
        server.close()


def case_server_refuses_nobody_who_comes_while_it_is_busy():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    server = Server(path, Poller(), lambda: 0.0, 5.0, Words(), True)
    try:
        for each in [sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path)) for _ in range(100)]:
            each.close()
    finally:
        server.close()


def case_lock_is_held_by_one():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    for each in (path, path + "x" * (PATH_BYTES - len(path) - 1), path + "x" * (PATH_BYTES - len(path))):
        lock = Lock(each, "program")
        try:
            Lock(each, "program")
            raise AssertionError("locked twice")
        except SocketError as error:
            assert str(error).startswith("another program uses /tmp/")
        lock.release()
        Lock(each, "program").release()
    try:
        Lock(path + "x" * PATH_BYTES, "program")
        raise AssertionError("locked what no socket can be")
    except SocketError as error:
        assert str(error).endswith("expected a path of at most 107 bytes")
