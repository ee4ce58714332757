# SPDX-License-Identifier: ISC
"""Cases of what `runtime` has besides records, for both Pythons."""

import gc
import json
import os
import socket

from runtime import IS_MICRO, files, sockets
from runtime.garbage import QUIET_MS, Garbage
from runtime.loop import BootClock, Clock, Poller
from runtime.netlink_socket import READ_BYTES, ROUTE, SHORT_BYTES, open_socket, receive
from runtime.ordered import OldestFirst, each_once, oldest
from runtime.rows import encode
from runtime.signing import is_equal, signer
from runtime.text import duration, table


class Counted:
    """A key that counts how often it is compared."""

    compared = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return self.number

    def __eq__(self, other):
        Counted.compared += 1
        return self.number == other.number


def case_ordered_misses_a_key_as_fast_when_many_have_come_and_gone():
    """Whoever makes up senders or clients has us look for nothing else."""
    table, room = OldestFirst(), 200
    for number in range(10 * room):
        if len(table) >= room:
            del table[oldest(table)]
        table[Counted(number * 7919 % 65521)] = number
    assert [table[key] for key in table] == list(range(9 * room, 10 * room))
    Counted.compared = 0
    assert not any(Counted(number * 7919 % 65521) in table for number in range(20 * room, 21 * room))
    assert Counted.compared < 30 * room, Counted.compared


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


def case_ordered_keeps_each_value_at_its_first_place():
    values = [b"%d" % (i * i % 97) for i in range(1000)]
    unique = each_once(values, [b"0", b"4"])
    assert unique[:4] == [b"1", b"9", b"16", b"25"], "deletions go before what takes their place"
    assert len(unique) == len(set(values)) - 2 and [values.index(each) for each in unique] == sorted(
        [values.index(each) for each in unique]
    )


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


def case_rows_are_told_from_values():
    value = {"a": iter([{"x": 1}, [True]]), "b": {"c": False, "d": None}, "e": 1.5, "f": "g"}
    assert json.loads(encode(value)) == {
        "a": [{"x": 1}, [True]],
        "b": {"c": False, "d": None},
        "e": 1.5,
        "f": "g",
    }


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
        files.replace(path, [data[:2], data[2:]])
        assert files.read(path, 99) == data
    try:
        files.replace(path, (bytes(each) for each in (1, None)))
        raise AssertionError("replaced by half")
    except TypeError:
        assert files.read(path, 99) == data
    assert files.read(path, 5) == b"two an"  # a byte more than the bound says that there is more
    files.remove(path)
    files.remove(path)
    pipe = path + ".pipe"
    os.system("mkfifo " + pipe)
    for wrong in (path, "/tmp", pipe):
        try:
            files.read(wrong, 5)
        except OSError:
            continue
        raise AssertionError("read " + wrong)
    files.remove(pipe)


def case_loop_clocks_go_on():
    clock, boot = Clock(), BootClock()
    before_ms, before_s = clock.now_ms(), boot.now_s()
    Poller().wait(20)
    assert 15 <= clock.now_ms() - before_ms < 5000 and 0.015 <= boot.now_s() - before_s < 5
    with open("/proc/uptime") as file:
        assert abs(boot.now_s() - float(file.read().split()[0])) < 1


class Asked:
    """A poller that says what it is told to, and notes for how long it was to wait."""

    def __init__(self):
        self.waits, self.found = [], []

    def ready(self, timeout_ms):
        self.waits.append(timeout_ms)
        return self.found


def case_garbage_is_collected_while_nothing_happens_and_not_while_somebody_waits():
    poller, garbage = Asked(), Garbage()
    poller.found = [7]
    for _ in range(100):
        assert garbage.ready(poller, 60000) == [7]
    assert garbage.counters.get("collections", 0) == 0
    while IS_MICRO and not garbage._is_due():
        bytes(1000)
    used = gc.mem_alloc() if IS_MICRO else 0
    poller.found, poller.waits = [], []
    assert garbage.ready(poller, QUIET_MS) == []  # somebody's deadline is near
    assert garbage.counters.get("collections", 0) == 0
    assert garbage.ready(poller, 60000) == []
    if IS_MICRO:
        assert gc.mem_alloc() < used - 50000
        assert garbage.counters["collections"] == 1
        assert poller.waits[:2] == [QUIET_MS, QUIET_MS] and 59000 < poller.waits[2] <= 60000 - QUIET_MS
    else:
        assert poller.waits == [QUIET_MS, 60000]
    assert garbage.ready(poller, 60000) == []
    assert poller.waits[-1] == 60000 and garbage.counters.get("collections", 0) == int(IS_MICRO)  # just done


def case_garbage_that_nobody_collects_ends_by_itself():
    """In a loop that is never idle, and with half a heap of room."""
    if IS_MICRO:
        Garbage()
        unique = {}
        for number in range(20000):
            unique[number % 100] = [bytes(200), number]
        assert gc.mem_alloc() < 4 << 20


def case_sockets_that_have_nothing_to_say_take_no_room():
    told, opened = open_socket(ROUTE), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    opened.setblocking(False)
    for read in (lambda: receive(told), lambda: sockets.receive(opened, 8192)):
        gc.collect()
        used = gc.mem_alloc() if IS_MICRO else 0
        for _ in range(20):
            assert read() is None
        assert not IS_MICRO or gc.mem_alloc() < used + 20 * 1024
    told.close()
    opened.close()


def case_netlink_packs_are_read_one_by_one_and_whole():
    opened, sender = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    opened.setblocking(False)
    name = sockets.unix_address("\0packs-" + os.urandom(8).hex())
    opened.bind(name)
    sender.connect(name)
    sizes = (1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, READ_BYTES)
    for number, size in enumerate(sizes):
        sender.send(bytes([number]) * size)
    for number, size in enumerate(sizes):
        assert receive(opened) == bytes([number]) * size
    assert receive(opened) is None
    opened.close()
    sender.close()
