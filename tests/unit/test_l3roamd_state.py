# SPDX-License-Identifier: ISC
"""The state file: replaced whole, written soon but seldom, and believed only if it is what it should be."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py import state
from l3roamd_py.state import StateError, StateWriter

BOOT = "11111111-2222-3333-4444-555555555555"


def load(path, boot_id):
    return state.load(str(path), boot_id)


def save(path, content, boot_id):
    state.save(str(path), content, boot_id)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "l3roamd.state"


def test_what_is_saved_is_loaded_in_the_same_boot_only(path):
    save(path, {"core": {"a": [1, "b"]}}, BOOT)
    assert load(path, BOOT)["core"] == {"a": [1, "b"]}
    assert load(path, "another") is None


def test_there_may_be_no_file(path):
    assert load(path, BOOT) is None


def test_only_root_reads_the_secret_and_nothing_else_is_left(path):
    for _ in range(2):
        save(path, {"core": {}}, BOOT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_what_a_crash_left_beside_it_is_in_nobodys_way(path):
    new = path.with_name(f".{path.name}.new")
    new.symlink_to("/etc/passwd")
    save(path, {"core": {}}, BOOT)
    assert load(path, BOOT) is not None
    assert not new.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b"1",
        b'{"format": 2, "core": {}}',
        b'{"format": 1, "core": []}',
        b'{"format": 1}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_one_sentence(path, text):
    path.write_bytes(text)
    with pytest.raises(StateError, match=r"^[^\n]*starting without$"):
        load(path, BOOT)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("state") / "file"
    path.write_bytes(data)
    with pytest.raises(StateError):
        load(path, BOOT)


def test_a_file_that_is_too_large_is_not_read_and_not_written(path, monkeypatch):
    monkeypatch.setattr(state, "BYTES_MAX", 100)
    path.write_bytes(b" " * 101)
    with pytest.raises(StateError, match="more than 100 bytes"):
        load(path, BOOT)
    with pytest.raises(StateError, match="expected at most 100: not written"):
        save(path, {"core": {"a": "x" * 100}}, BOOT)


def test_a_file_that_the_memory_does_not_hold_is_one_sentence_on_micropython(path, micropython):
    """A daemon on CPython may have left it."""
    path.write_text(json.dumps({"format": 1, "boot": BOOT, "core": {"clients": ["x" * 1000] * 2000}}))
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from l3roamd_py.state import StateError, load\n"
        f"try: load({str(path)!r}, {BOOT!r})\n"
        "except StateError as error: print(error)\n"
    )
    done = micropython.run("-X", "heapsize=1m", "-c", code)
    assert done.stdout.endswith("is too large for the memory that there is: starting without\n"), done.stderr


def test_a_link_or_a_pipe_is_not_followed(path, tmp_path):
    (tmp_path / "target").write_text(json.dumps({"format": 1, "boot": BOOT, "core": {}}))
    path.symlink_to(tmp_path / "target")
    with pytest.raises(StateError, match="starting without"):
        load(path, BOOT)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateError, match="is no file"):
        load(path, BOOT)


def test_reading_takes_the_memory_of_what_is_there_not_of_what_may_be(path):
    """A router may leave the daemon 40 MiB of address space."""
    save(path, {"core": {"a": "x" * 100_000}}, BOOT)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from l3roamd_py import state\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (4 << 20),) * 2)\n"
        "print(len(state.load(sys.argv[1], sys.argv[2])['core']['a']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, BOOT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "100000\n", done.stderr


def make_writer(path):
    contents = {"core": {"n": 0}}
    return StateWriter(str(path), lambda: contents, BOOT), contents["core"]


def test_a_change_is_written_within_a_tenth_of_a_second_with_those_that_come_with_it(path):
    writer, core = make_writer(path)
    writer.note(1, 10.0)
    assert writer.next_deadline_s == pytest.approx(10.1)
    core["n"] = 5
    writer.note(2, 10.05)
    assert writer.next_deadline_s == pytest.approx(10.1)
    writer.tick(10.09)
    assert not path.exists()
    writer.tick(10.1)
    assert load(path, BOOT)["core"] == {"n": 5}


def test_nothing_is_written_while_nothing_changes(path):
    writer, _ = make_writer(path)
    writer.note(1, 0.0)
    writer.tick(1.0)
    writer.note(1, 2.0)
    assert writer.next_deadline_s is None


def test_a_state_that_takes_long_to_write_is_written_seldom(path, monkeypatch):
    writer, _ = make_writer(path)
    clock = iter((0.0, 0.5))
    monkeypatch.setattr(writer._clock, "now_s", lambda: next(clock))
    writer.write()
    writer.note(1, 100.0)
    assert writer.next_deadline_s == pytest.approx(110.0)


def test_a_full_disk_is_said_once_and_tried_again(path):
    writer, _ = make_writer(path / "missing" / "directory")
    writer.note(1, 0.0)
    with pytest.raises(StateError, match="cannot be written"):
        writer.tick(1.0)
    assert writer.next_deadline_s == 1.0 + state.RETRY_S
    writer.tick(7.0)
    assert writer.failures == 2
