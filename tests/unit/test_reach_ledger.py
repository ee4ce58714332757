# SPDX-License-Identifier: ISC
"""The ledger of what is done, on a machine that refuses: what cannot be taken back is not forgotten."""

import pytest

from reach import apply
from reach.kernel import KernelError
from reach.steps import Step

A, B, C, D = (Step("route", name) for name in "abcd")


class Machine:
    """What is done on it, in order; refuses what it is told to."""

    def __init__(self):
        self.has, self.refuses = [], set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def look(self, step):
        return {}

    def act(self, word, step):
        if (word, step.key) in self.refuses:
            raise KernelError(f"{step.key}: no")
        if step in self.has:
            self.has.remove(step)

    def do(self, step, note):
        self.act("do", step)
        self.has.append(step)

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
    assert (machine.has, names(ledger)) == ([A], ["a"])
    machine.refuses = set()
    assert apply.down(machine, ledger) == 1
    assert (machine.has, names(ledger)) == ([], [])


def test_a_failed_up_leaves_what_was_there_before(machine, ledger):
    apply.up(machine, ledger, [A, B])
    machine.refuses = {("do", "d"), ("undo", "c")}
    with pytest.raises(KernelError):
        apply.up(machine, ledger, [A, C, D])
    assert names(ledger) == ["a", "b", "c"]
    assert {step.key for step in machine.has} == {"a", "b", "c"}


def test_what_nobody_confirmed_is_taken_back_though_the_machine_refuses_at_first(
    machine, ledger, monkeypatch
):
    apply.up(machine, ledger, [A, B])
    machine.refuses = {("undo", "b")}
    monkeypatch.setattr(apply, "Kernel", lambda folder: machine)
    monkeypatch.setattr(apply.time, "sleep", lambda seconds: machine.refuses.clear())
    apply.take_back(ledger.path.parent, ledger, [])
    assert (machine.has, names(ledger)) == ([], [])
