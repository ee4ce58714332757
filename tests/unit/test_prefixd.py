# SPDX-License-Identifier: ISC
"""prefixd's pure modules: the cases on both Pythons, and what hypothesis makes of them."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefixd_babel_cases import line, synced
from prefixd_cases import CASES
from prefixd_plats import RANGE, A, B, C, plat

from prefixd import options, probe
from prefixd.babel import BabelTable
from prefixd.choice import DOWN, GOOD, INFINITY, UNKNOWN, PlatChoice
from prefixd.daemon import Daemon

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES])
def test_on_cpython(case):
    case()


def test_all_cases_hold_on_micropython(micropython):
    done = micropython.run("tests/unit/prefixd_cases.py", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split().count("ok") == len(CASES)


LINES = st.sampled_from(
    [
        line(1, 96),
        line(2, 256),
        line(1, 96, "flush"),
        line(1, 65535, "change"),
        b"ok\n",
    ]
)


@st.composite
def mutated(draw):
    """A line as babeld writes it with some bytes changed, cut or put in."""
    line = bytearray(draw(LINES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(line)


@given(st.lists(st.one_of(mutated(), st.binary(max_size=700), LINES), max_size=12), st.integers(1, 60))
def test_no_bytes_from_babeld_break_the_table_or_grow_it(chunks, size):
    babel = synced()
    stream = b"".join(chunks)
    for at in range(0, len(stream), size):
        babel.feed(stream[at : at + size], at)
        assert len(babel._partial) <= 512 + size
    list(babel.pop_events(len(stream) + 1000))
    assert all(0 <= metric < INFINITY for metric in babel.metrics.values())
    assert all(prefix[:6] == RANGE[:6] and prefix[12:] == bytes(4) for prefix in babel.metrics)
    if babel.error is None:  # and it goes on as if nothing had been
        babel.feed(b"\n" + line(9, 77), 10**6)
        assert babel.metrics[plat(9)] == 77


@given(st.binary(max_size=200))
def test_no_greeting_breaks_the_table(greeting):
    babel = BabelTable(RANGE)
    babel.feed(greeting, 0)
    assert not babel.metrics


PREFIXES = st.sampled_from([A, B, C])
EVENTS = st.one_of(
    st.tuples(st.just("metric"), PREFIXES, st.sampled_from([0, 96, 160, 161, 512, INFINITY])),
    st.tuples(st.just("own"), PREFIXES, st.booleans()),
    st.tuples(st.just("health"), PREFIXES, st.integers(GOOD, DOWN), st.just("reason")),
    st.tuples(st.just("away"), st.booleans()),
    st.just(("tick",)),
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 6000)), max_size=60))
def test_whatever_happens_the_choice_is_sound(history):
    choice = PlatChoice()
    now_ms = 0
    used = None
    for event, pause_ms in history:
        now_ms += pause_ms
        actions = choice.handle(event, now_ms)
        decisions = [action for action in actions if action[0] != "lost"]
        assert len(decisions) <= 1
        for action in decisions:
            assert action != (("use", used) if used else ("stop",)) or used is None
            used = action[1] if action[0] == "use" else None
        assert choice.chosen == used
        lost = [action[1] for action in actions if action[0] == "lost"]
        assert used not in lost
        assert len(lost) == len(set(lost))
        # another may still answer: for a moment nothing is decided
        if used is not None and not choice.is_away and choice._settled_ms is None:
            assert used in choice.metrics
            assert choice.health.get(used, UNKNOWN) != DOWN
        if any(choice.health.get(p) == GOOD for p in choice.metrics) and choice._settled_ms is None:
            assert used is not None
        assert choice.deadline_ms() is None or choice.deadline_ms() >= now_ms
        assert set(choice.health) <= set(choice.metrics)


@given(
    st.lists(st.tuples(PREFIXES, st.sampled_from([100, 200, 300])), min_size=1, unique_by=lambda t: t[0]),
    st.randoms(),
)
def test_the_order_of_news_does_not_matter(plats, shuffle):
    told = [
        event
        for prefix, metric in plats
        for event in (("metric", prefix, metric), ("health", prefix, GOOD, ""))
    ]
    first = PlatChoice()
    first.handle_all([("away", False), *told], 0)
    plats = list(plats)
    shuffle.shuffle(plats)
    told = [
        event
        for prefix, metric in plats
        for event in (("metric", prefix, metric), ("health", prefix, GOOD, ""))
    ]
    second = PlatChoice()
    second.handle_all([*told, ("away", False)], 0)
    assert first.chosen == second.chosen is not None


@given(st.lists(st.binary(max_size=120), max_size=20))
def test_no_packet_breaks_the_prober(packets):
    prober = probe.Prober([bytes((9, 9, 9, 9))], random.Random(1).randbytes)
    prober.watch(A, {A: 100}, 0)
    prober.pop_due(0)
    for packet in packets:
        for kind in (b"", b"\x81", b"\x01", b"\x03"):
            prober.handle_packet(A, kind + packet, 10)
    assert prober.counts["answered"] == prober.counts["refused"] == 0
    assert sum(prober.counts[why] for why in ("short", "foreign", "forged")) == 4 * len(packets)


@given(
    st.lists(
        st.sampled_from([*options._NAMES, *options._FLAGS, "x", "", "fddd::/48", "--margin=\0"]), max_size=9
    )
)
def test_no_command_line_breaks_the_parser(arguments):
    with contextlib.suppress(options.UsageError):  # one sentence, or the options; nothing else comes out
        options.parse(arguments)


STATUS = """
import sys
from prefixd import table
table.ANSWER_S = 0.1
sys.exit(table.show(sys.argv[1], False))
"""


@pytest.fixture
def show(tmp_path):
    """`prefixd --status` against a socket that nothing but the test answers: show(run, answer) -> what it says.

    answer: bytes, None for a listener that says nothing. status: the exit status; 3 where nothing listens.
    """
    path = str(tmp_path / "prefixd.sock")
    script = tmp_path / "status.py"
    script.write_text(STATUS)

    def answer_once(listener, answer):
        peer, _ = listener.accept()
        with peer:
            peer.recv(100)
            peer.sendall(answer)

    def ask(run, answer=None, status=4):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            if status != 3:
                listener.listen()
            if answer is not None:
                threading.Thread(target=answer_once, args=(listener, answer), daemon=True).start()
            done = run(script, path)
        os.unlink(path)
        assert (done.returncode, done.stdout) == (status, "")
        return done.stderr.replace(path, "SOCKET")

    return ask


def on_cpython(*words):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60
    )


ABSENT = "prefixd: no prefixd runs: nothing listens on SOCKET\n"
HANGS = "prefixd: the prefixd on SOCKET does not answer: no answer in time\n"
ENDED = "prefixd: the prefixd on SOCKET ended without an answer\n"
STRANGER = "prefixd: what listens on SOCKET is no prefixd\n"
# whole answers of others, and halves of ours, which the JSON of an old MicroPython takes for whole ones
ANSWERS = [
    b"hello\n",
    b"[1]\n",
    b'{"plats": [',
    b'{"chosen": null, "why": "x"',
    b'{"plats": []}\n',
    b"\xff\n",
    b"7\n",
]


def test_what_answers_status_otherwise_is_one_sentence(show):
    assert show(on_cpython, status=3) == ABSENT
    assert show(on_cpython) == HANGS
    assert show(on_cpython, b"") == ENDED
    for answer in ANSWERS:
        assert show(on_cpython, answer) == STRANGER, answer


def test_what_answers_status_otherwise_is_one_sentence_on_micropython(show, micropython):
    assert show(micropython.run, status=3) == ABSENT
    assert show(micropython.run) == HANGS
    assert show(micropython.run, b"") == ENDED
    for answer in ANSWERS:
        assert show(micropython.run, answer) == STRANGER, answer


class StalledPoller:
    """Its first wait ends 5 s late, with the answers of all probes unread; another one reads them, 32 at a time."""

    def __init__(self, clock, prober, probes):
        self.clock, self.prober, self.probes = clock, prober, probes
        self.is_stalled = False

    def wait(self, timeout_ms):
        if not self.is_stalled:
            self.is_stalled = True
            self.clock.now += timeout_ms + 5000
            return
        for _sequence, source, packet in self.probes[:32]:
            self.prober.handle_packet(source, b"\x81" + packet[1:], self.clock.now)
        del self.probes[:32]


class StandingClock:
    now = 0

    def now_ms(self):
        return self.now


@pytest.mark.parametrize("count", [1, 40])
def test_after_a_stall_answers_are_read_before_probes_count_as_lost(count):
    words = "--plat-range fddd:1338:1338::/48 --clat clat --target /tmp/siit.sock --source ::1"
    daemon = Daemon(options.parse(words.split()))
    daemon.clock, daemon.links, prober = StandingClock(), [], daemon.prober
    daemon._look_ms = 500
    daemon.choice.handle_all([("metric", plat(number), 100) for number in range(1, count + 1)], 0)
    prober.watch(None, daemon.choice.metrics, 0)
    probes = prober.pop_due(0)
    assert len(probes) >= count
    daemon.poller = StalledPoller(daemon.clock, prober, probes)
    daemon.step()
    lanes = [lane for watched in prober.watched.values() for lane in watched.lanes]
    assert lanes
    assert all(lane.is_up and not lane.losses for lane in lanes)


@pytest.mark.parametrize(
    ("answers", "status"),
    [([b"told\n"], 0), ([b"wait\n", b"told\n"], 0), ([b"what?\n"], 4), ([b""], 4), ([None], 4), ([], 3)],
)
def test_the_exit_status_of_withdraw_is_0_only_if_hosts_were_told(tmp_path, answers, status):
    path = str(tmp_path / "control")
    asked = []

    def answer(listener):
        for said in answers:
            sock = listener.accept()[0]
            asked.append(sock.recv(100))
            if said is None:  # busy for longer than one waits
                sock.recv(100)
            else:
                sock.sendall(said)
            sock.close()

    code = (
        "import sys; from prefixd import table; table.ANSWER_S = 0.3; sys.exit(table.withdraw(sys.argv[1]))"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        if answers:
            listener.bind(path)
            listener.listen()
            threading.Thread(target=answer, args=(listener,), daemon=True).start()
        done = subprocess.run([sys.executable, "-c", code, path], cwd=REPOSITORY, timeout=30)
    assert done.returncode == status
    assert asked == [b"withdraw\n"] * len(answers)
