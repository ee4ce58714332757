# SPDX-License-Identifier: ISC
"""The ledger of what is done, on a machine that refuses: what cannot be taken back is not forgotten."""

import errno
import os

import pytest

from reach import apply
from reach.kernel import KernelError
from reach.steps import Step

A, B, C, D = (Step("offload", name) for name in "abcd")


class Machine:
    """What is done on it, in order; refuses what it is told to."""

    def __init__(self):
        self.made, self.refuses = [], set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, step):
        return {}

    def act(self, word, step):
        if (word, step.key) in self.refuses:
            raise KernelError(f"{step.key}: no")
        if step in self.made:
            self.made.remove(step)

    def has(self, step):
        return step in self.made

    def do(self, step, note, was=None):
        self.act("do", step)
        self.made.append(step)

    def undo(self, step, note):
        self.act("undo", step)


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def ledger(tmp_path):
    return apply.Ledger(tmp_path, "server")


def names(ledger):
    return [entry.step.key for entry in ledger.read()]


def test_what_a_failed_up_cannot_take_back_stays_in_the_ledger_for_down(machine, ledger):
    machine.refuses = {("do", "c"), ("undo", "a")}
    with pytest.raises(KernelError):
        apply.up(machine, ledger, [A, B, C])
    assert (machine.made, names(ledger)) == ([A], ["a"])
    machine.refuses = set()
    assert apply.down(machine, ledger) == 1
    assert (machine.made, names(ledger)) == ([], [])


def test_a_failed_up_leaves_what_was_there_before(machine, ledger):
    apply.up(machine, ledger, [A, B])
    machine.refuses = {("do", "d"), ("undo", "c")}
    with pytest.raises(KernelError):
        apply.up(machine, ledger, [A, C, D])
    assert names(ledger) == ["a", "b", "c"]
    assert {step.key for step in machine.made} == {"a", "b", "c"}


def test_what_changes_in_place_is_not_taken_away_when_an_up_fails(machine, ledger, monkeypatch):
    old, new = (Step("process", "relay", {"config": text}) for text in "xy")
    apply.up(machine, ledger, [old])
    ended = []
    monkeypatch.setattr(machine, "undo", lambda step, note: ended.append(step))
    machine.refuses = {("do", "b")}
    with pytest.raises(KernelError):
        apply.up(machine, ledger, [new, B])
    assert old in machine.made[1:], "it is told to be as before"
    assert new not in ended, "and its connections go on"


def test_what_is_new_and_what_is_gone_is_counted_apart(machine, ledger):
    assert apply.up(machine, ledger, [A, B]) == apply.Count(2, 0)
    assert apply.up(machine, ledger, [C]) == apply.Count(1, 2)
    assert not apply.up(machine, ledger, [C])


def test_what_nobody_confirmed_is_taken_back_though_the_machine_refuses_at_first(
    machine, ledger, monkeypatch
):
    apply.up(machine, ledger, [A, B])
    machine.refuses = {("undo", "b")}
    monkeypatch.setattr(apply, "Kernel", lambda folder: machine)
    monkeypatch.setattr(apply.time, "sleep", lambda seconds: machine.refuses.clear())
    apply.restore_with_retries(ledger.path.parent, ledger, [])
    assert (machine.made, names(ledger)) == ([], [])


def test_a_full_disk_takes_back_what_was_done(machine, ledger, monkeypatch):
    write = ledger.write

    def write_two(entries):
        if len(entries) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "server.new")
        write(entries)

    monkeypatch.setattr(ledger, "write", write_two)
    with pytest.raises(KernelError, match=r"server\.new: No space left on device"):
        apply.up(machine, ledger, [A, B, C])
    assert (machine.made, names(ledger)) == ([], [])


def test_who_interrupts_an_up_finds_everything_as_it_was(machine, ledger, monkeypatch):
    def interrupt(step):
        raise KeyboardInterrupt

    apply.up(machine, ledger, [A])
    monkeypatch.setattr(machine, "read", lambda step: interrupt(step) if step == C else {})
    with pytest.raises(KeyboardInterrupt):
        apply.up(machine, ledger, [A, B, C])
    assert {step.key for step in machine.made} == {"a"}
    assert names(ledger) == ["a"]


def test_what_somebody_else_has_undone_is_lost_until_the_next_up(machine, ledger):
    apply.up(machine, ledger, [A, B])
    machine.made.remove(B)
    assert apply.lost(machine, ledger) == ["offload b"]
    apply.up(machine, ledger, [A, B])
    assert apply.lost(machine, ledger) == []


def test_a_machine_is_one_end_only(tmp_path):
    apply.Ledger(tmp_path, "attic").write([apply.Entry(A, {})])
    with pytest.raises(KernelError, match="this machine is attic already, and can be one end only"):
        apply.bring_up(tmp_path, "server", [A], 0)
    assert not (tmp_path / "server.json").exists()
