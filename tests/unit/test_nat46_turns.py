# SPDX-License-Identifier: ISC
"""Who talks to a translator at once takes turns: threads, processes, children; and an interrupt waits."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest
from test_nat46_target import ROOT, daemon  # noqa: F401 # the latter a fixture

from nat46 import (
    CallFailed,
    KernelTarget,
    SiitTarget,
    fair_lock,
    kernel,
    libc,
    target,
)


def test_an_interrupt_waits_for_a_session_in_another_namespace(monkeypatch):
    """Its thread would end with the program, in the middle of making a device."""
    steps = []

    class Impatient(threading.Thread):
        def join(self, timeout=None):
            if timeout is None:
                raise KeyboardInterrupt
            super().join(timeout)

    def work(session):
        time.sleep(0.1)
        steps.append("done")

    monkeypatch.setattr(kernel.threading, "Thread", Impatient)
    monkeypatch.setattr(libc, "enter_network", lambda fd: None)
    with pytest.raises(KeyboardInterrupt):
        KernelTarget("/proc/net/dev", os.getpid()).perform(work)
    assert steps == ["done"]


# --- threads, import -----------------------------------------------------------


def test_sessions_take_turns(tmp_path):
    """Each reads a number, waits for others to come, and writes one more."""
    (tmp_path / "control").write_text("0")
    control = KernelTarget(str(tmp_path / "control"))

    def count():
        for _ in range(50):
            control.perform(lambda session: session.send(str(int(session.read().split()[0]) + 1)))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int((tmp_path / "control").read_text().split()[0]) == 200


def test_threads_have_their_turns_in_the_order_in_which_they_came(tmp_path):
    (tmp_path / "control").write_text("")
    ours, came, queue = (
        KernelTarget(str(tmp_path / "control")),
        [],
        lambda: fair_lock.fair_lock._queues.values(),
    )
    threads = [
        threading.Thread(target=ours.perform, args=(lambda _, number=number: came.append(number),))
        for number in range(20)
    ]

    def start_all(_):
        for number, thread in enumerate(threads):
            thread.start()
            while number + 2 not in map(len, queue()):
                time.sleep(0.001)

    ours.perform(start_all)
    for thread in threads:
        thread.join()
    assert came == list(range(20))
    assert not queue()


def test_a_thread_whose_turn_does_not_come_says_so_and_leaves_the_queue(tmp_path, monkeypatch):
    (tmp_path / "control").write_text("")
    ours = KernelTarget(str(tmp_path / "control"))
    monkeypatch.setattr(target, "LOCK_S", 0.1)
    with pytest.raises(CallFailed, match=r"other threads have held it for 0\.1 s") as raised:
        ours.perform(lambda _: ours.perform(lambda _: None))
    assert raised.value.errno == errno.EAGAIN
    assert ours.perform(lambda _: "came in") == "came in"


def test_other_processes_and_threads_wait_although_each_opens_another_inode():
    """Below /proc/net every opening makes one, so a lock on the control file itself would keep nobody out."""
    text = (
        "from nat46 import KernelTarget, target; target.LOCK_S = 0.1\n"
        "try: KernelTarget('/proc/net/dev').perform(lambda session: print('came in'))\n"
        "except OSError as error: print(error.errno, error)"
    )
    words = [sys.executable, "-c", text]

    def ask(session):
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout

    said = KernelTarget("/proc/net/dev").perform(ask)
    assert said.startswith(f"{errno.EAGAIN} flock /proc/"), said
    assert "another program has held it for 0.1 s" in said
    assert ask(None) == "came in\n"


@pytest.mark.parametrize("kind", ["the module", "siit"])
def test_a_child_that_was_forked_meanwhile_keeps_nobody_out(kind, daemon, monkeypatch):  # noqa: F811
    monkeypatch.setattr(target, "LOCK_S", 0.2)
    ours = KernelTarget("/proc/net/dev") if kind == "the module" else SiitTarget(str(daemon().path))
    end, begin = os.pipe()

    def fork(session):
        if (child := os.fork()) == 0:
            os.close(begin)
            os.read(end, 1)
            os._exit(bool(fair_lock.fair_lock._queues))  # who waited here waits there for nobody
        return child

    child = ours.perform(fork)
    try:
        assert ours.perform(lambda session: "came in") == "came in"
    finally:
        os.close(begin)
        assert os.waitpid(child, 0)[1] == 0
        os.close(end)
