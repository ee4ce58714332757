# SPDX-License-Identifier: ISC
"""Cases of what `runtime` has besides records, for both Pythons."""

import os
import socket

from runtime import files, sockets
from runtime.loop import BootClock, Clock, Poller
from runtime.ordered import OldestFirst, oldest
from runtime.server import Lock, Refused, Server, SocketError
from runtime.signing import is_equal, signer
from runtime.text import duration, table


def case_ordered_tells_its_oldest_key():
    table = OldestFirst()
    for key in (3, 1, 2):
        table[key] = key * 10
    table[3] = 33  # keeps its place
    assert (list(table), len(table), oldest(table), table[3]) == ([3, 1, 2], 3, 3, 33)
    assert (table.pop(3), table.pop(3, None), oldest(table)) == (33, None, 1)
    table[3] = 30
    assert (list(table), table.get(3), table.get(9), table.get(9, 0)) == ([1, 2, 3], 30, None, 0)
    del table[2]
    assert (list(table), 2 in table, 3 in table, bool(table)) == ([1, 3], False, True, True)


def case_ordered_refuses_what_is_not_there():
    table = OldestFirst()
    assert not table and list(table) == []
    for wrong in (
        lambda: oldest(table),
        lambda: table[1],
        lambda: table.pop(1),
        lambda: table.__delitem__(1),
    ):
        try:
            wrong()
        except KeyError:
            continue
        raise AssertionError("no KeyError")


def case_ordered_takes_the_same_time_for_many_keys():
    table = OldestFirst()
    for key in range(20000):
        table[key] = None
    for key in range(20000):
        assert oldest(table) == key
        del table[key]
    assert not table


def case_signing_is_hmac_sha256():
    """RFC 4231, test cases 1 to 3."""
    for key, message, expected in (
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ):
        sign = signer(key)
        assert sign(message).hex() == expected
        assert sign(message).hex() == expected  # the key is not used up


def case_signing_compares():
    assert is_equal(b"ab", b"ab") and is_equal(b"", b"")
    assert not is_equal(b"ab", b"ac") and not is_equal(b"ab", b"a") and not is_equal(b"", b"a")


def case_text_table_has_columns():
    assert table([("A", "BB"), ("ccc", ""), ("d", "e")]) == ["A    BB", "ccc", "d    e"]
    assert table([]) == []


def case_text_duration_has_a_unit_that_says_it_well():
    for seconds, said in ((-1, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")):
        assert duration(seconds) == said


def case_files_are_replaced_whole_and_read_with_a_bound():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    for data in (b"one", b"two and more"):
        files.replace(path, data)
        assert files.read(path, 99) == data
    assert files.read(path, 5) == b"two an"  # a byte more than the bound says that there is more
    files.remove(path)
    files.remove(path)
    for wrong in (path, "/tmp"):
        try:
            files.read(wrong, 5)
        except OSError:
            continue
        raise AssertionError("read " + wrong)


class Words:
    """A language of the control socket: `long` is answered in pieces, `no` is refused."""

    def line_bytes(self, _data):
        return 20

    def answer(self, line):
        if line == b"no":
            raise Refused("expected yes")
        return ("x" * 1000 for _ in range(200)) if line == b"long" else (line.decode() + "!",)


def talk(poller, path, said):
    """What a server answers to one peer; both take their turns."""
    peer = sockets.open_stream(socket.AF_UNIX, sockets.unix_address(path))
    sockets.send(peer, said)
    heard = b""
    for _ in range(10000):
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


def case_lock_is_held_by_one():
    path = "/tmp/runtime-case-%s" % os.urandom(8).hex()
    for each in (path, path + "x" * 200):
        lock = Lock(each, "program")
        try:
            Lock(each, "program")
            raise AssertionError("locked twice")
        except SocketError as error:
            assert str(error).startswith("another program uses /tmp/")
        lock.release()
        Lock(each, "program").release()


def case_loop_clocks_go_on():
    clock, boot = Clock(), BootClock()
    before_ms, before_s = clock.now_ms(), boot.now_s()
    Poller().wait(20)
    assert 15 <= clock.now_ms() - before_ms < 5000 and 0.015 <= boot.now_s() - before_s < 5
    with open("/proc/uptime") as file:
        assert abs(boot.now_s() - float(file.read().split()[0])) < 1
