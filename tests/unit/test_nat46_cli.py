# SPDX-License-Identifier: ISC
"""nat46ctl against the module's model: what people type, read, and get told."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nat46_module import Instance, ModuleTarget

from nat46 import Translator, cli, report

ROOT = Path(__file__).resolve().parents[2]
LOCAL, REMOTE = "10.126.0.0/16=fd00:1::/96", "0.0.0.0/0=64:ff9b::/96"
LONG = "fddd:1337:1338:1234:5678:9abd::/96"


@pytest.fixture
def target(monkeypatch):
    target = ModuleTarget()
    target.mtu_bytes = lambda device: 1280
    monkeypatch.setattr(cli, "translator", lambda options: Translator(target))
    return target


@pytest.fixture
def ctl(target, capsys):
    """A function that runs nat46ctl: exit code, stdout, stderr."""

    def run(*words):
        try:
            code = cli.main(list(words))
        except SystemExit as ended:
            code = ended.code
        return (code, *capsys.readouterr())

    return run


def test_a_device_is_made_shown_and_taken_away(ctl):
    assert ctl("add", "clat", "--local", LOCAL, "--remote", REMOTE) == (0, "", "")
    assert ctl("show")[1].splitlines() == [
        "DEVICE  PAIR  SIDE    IPV4           IPV6          STYLE    BITS",
        "clat    1     local   10.126.0.0/16  fd00:1::/96   RFC6052",
        "              remote  0.0.0.0/0      64:ff9b::/96  RFC6052",
        "at the module's model",
    ]
    assert json.loads(ctl("show", "--json")[1])["target"] == "the module's model"
    said = ctl("stat", "clat")[1].splitlines()
    assert (said[0], said[-1]) == ("clat:", "at the module's model")
    assert ctl("del", "clat") == (0, "", "")
    for command in ("show", "stat"):
        assert ctl(command) == (0, "no device at the module's model\n", "")


def test_what_a_listing_hides_is_a_question_mark(ctl):
    ctl("add", "clat", "--local", f"10.126.0.0/16={LONG}", "--remote", f"0.0.0.0/0={LONG}")
    lines = ctl("show")[1].splitlines()
    assert lines[2].split() == ["remote", "0.0.0.0/0", LONG, "?", "?"]
    assert lines[4] == "?: the module's listing is cut before it, after 199 characters a pair"
    pair = json.loads(ctl("show", "--json")[1])["devices"][0]["pairs"][0]
    assert pair["remote"] == {
        "v4": "0.0.0.0/0",
        "v6": LONG,
        "style": None,
        "ea-len": None,
        "psid-offset": None,
    }
    assert pair["hidden"] == ["remote.style", "remote.ea-len", "remote.psid-offset"]


def test_pairs_come_and_go(ctl, target):
    ctl("add", "clat", "--local", LOCAL)
    assert ctl("insert", "clat", "--local", "192.0.2.1=2001:db8::1")[0] == 0
    assert "192.0.2.1/32   2001:db8::1/128  NONE" in ctl("show", "clat")[1]
    assert ctl("remove", "clat", "--local", "192.0.2.1=2001:db8::1")[0] == 0
    assert ctl("config", "clat", "debug", "1", "--remote", REMOTE)[0] == 0
    assert len(target.module.devices["clat"].pairs) == 1


def test_a_pair_that_is_nearly_there_is_told_with_what_it_has(ctl):
    """`config` changes what is named, and a table shows no ea-len beside a style that has none."""
    ctl("add", "clat", "--local", LOCAL)
    ctl("config", "clat", "local.ea-len", "12")
    code, _, said = ctl("remove", "clat", "--local", LOCAL)
    assert (code, said.endswith("; the nearest has local.ea-len 12\n")) == (1, True)
    assert ctl("remove", "clat", "--local", LOCAL, "local.ea-len", "12") == (0, "", "")
    code, _, said = ctl("remove", "clat", "--local", LOCAL)
    assert (code, "nearest" in said) == (1, False)


def test_a_plain_device_takes_one_command(ctl, target):
    assert ctl("add", "clat")[0] == 0
    assert target.module.writes == [b"add clat\n"]


def test_a_dry_run_prints_commands_and_sends_none(ctl, target):
    code, said, _ = ctl("add", "clat", "--dry-run", "--local", LOCAL)
    assert (code, target.module.writes) == (0, [])
    assert report.read_devices(said)["clat"][0].local.style == "RFC6052"
    assert ctl("del", "clat", "--dry-run")[1] == "del clat\n"
    assert ctl("add", "clat", "--dry-run", "local.style", "RFC6052")[0] == 2


def test_a_dry_run_prints_what_is_sent_and_the_debug_level_is_not_lost(ctl, target):
    for words in (
        ["add", "a"],
        ["add", "b", "--local", LOCAL, "debug", "3"],
        ["add", "c", "debug", "1"],
        ["insert", "b", "--local", "192.0.2.1=2001:db8::1", "remote.v4", "192.0.2.2/32", "--remote", REMOTE],
    ):
        said = ctl(*words, "--dry-run")[1]
        before = len(target.module.writes)
        assert (ctl(*words)[0] == 0) is ("remote.v4" not in words)
        if "remote.v4" not in words:
            assert b"".join(target.module.writes[before:]).decode() == said
    assert [instance.debug for instance in target.module.devices.values()] == [0, 3, 1]


def test_words_may_stand_anywhere(ctl, target):
    assert ctl("add", "clat", "--local", LOCAL, "remote.ea-len", "0", "debug", "2") == (0, "", "")
    assert ctl("config", "clat", "remote.ea-len", "0", "--local", LOCAL, "debug", "3") == (0, "", "")
    assert target.module.devices["clat"].debug == 3
    assert ctl("add", "eam", "--locale", LOCAL)[0] == 2
    assert ctl("show", "clat", "more")[0] == 2


def test_an_interrupt_is_no_traceback_and_leaves_no_half_of_a_device(ctl, target):
    def interrupt(command):
        if command.startswith("config"):
            target.meddle = None
            raise KeyboardInterrupt

    target.meddle = interrupt
    assert ctl("add", "clat", "--local", LOCAL) == (130, "", "")
    assert target.module.devices == {}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_that_nobody_takes_is_one_sentence():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "nat46", "add", "clat", "--dry-run"]
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "nat46ctl: standard output: No space left on device\n")


def test_a_closed_output_is_no_failure():
    words = [sys.executable, "-m", "nat46", "add", "clat", "--dry-run"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["add"], "required: device"),
        (["add", "a/b"], "'a/b' is no device name"),
        (["add", "abcdefghijklmnop"], "has 16 characters"),
        (["add", "clat", "--local", "10.0.0.0/8"], "expected IPV4=IPV6"),
        (["add", "clat", "--local", "10.0.0.0/8=::1"], "expected a length of 32, 40"),
        (["add", "clat", "--local", "10.0.0.0/8=fd00::/64,MAP9"], "'MAP9' is no style"),
        (["add", "clat", "local.v5", "1"], "'local.v5' is no key"),
        (["add", "clat", "local.v4"], "needs a value"),
        (
            ["config", "there", "local.v6", "fd00::/97", "local.style", "RFC6052"],
            "does not take v6 fd00::/97",
        ),
        (["check", "/no/such/file"], "/no/such/file cannot be read: No such file"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(ctl, target, words, says):
    target.module.write(b"add there")
    code, out, said = ctl(*words)
    assert (code, out) == (2, "")
    (line,) = said.splitlines()
    assert line.startswith("nat46ctl")
    assert says in line
    assert len(target.module.writes) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "there"], "there is a device of this translator already"),
        (["add", "lo"], "lo is a network device of another kind already"),
        (["del", "clat"], "no device clat, expected one of there, empty"),
        (["show", "clat"], "no device clat, expected one of there, empty"),
        (["config", "empty", "debug", "1"], "empty has no pair left to configure, expected an insert first"),
        (["show", ""], "no device '', expected one of there, empty"),
        (["stat", ""], "no device '', expected one of there, empty"),
        (["remove", "there", "--local", LOCAL], "no pair that is exactly this one"),
    ],
)
def test_what_is_not_so_here_is_one_sentence_and_exit_code_1(ctl, target, words, says):
    target.module.write(b"add there")
    target.module.devices["empty"] = Instance([])
    code, _, said = ctl(*words)
    assert code == 1
    (line,) = said.splitlines()
    assert says in line


def test_a_change_that_was_not_made_points_at_what_is_there(ctl, target):
    target.module.config = lambda *_: None
    target.module.write(b"add clat")
    code, _, said = ctl("config", "clat", "--local", LOCAL)
    assert code == 1
    assert "did not do what it says: wanted 'local.v4 10.126.0.0/16" in said
    assert said.count("\n") == 1


def test_a_file_is_compared_with_what_is_there(ctl, target, tmp_path, monkeypatch):
    (tmp_path / "rules").write_text(
        f"# ours\nadd clat\nconfig clat local.v4 10.126.0.0/16 local.v6 {LONG} local.style RFC6052\nadd plat\n"
    )
    code, said, _ = ctl("diff", str(tmp_path / "rules"))
    assert code == 1
    assert said.splitlines()[0] == "-add clat"
    target.module.write(
        f"add clat\nconfig clat local.v4 10.126.0.0/16 local.v6 {LONG} local.style RFC6052".encode()
    )
    target.module.write(b"add plat")
    assert ctl("diff", str(tmp_path / "rules")) == (0, "", "")
    target.module.write(b"config plat local.v4 10.0.0.0/8")
    target.module.write(b"add other")
    code, said, _ = ctl("diff", str(tmp_path / "rules"))
    assert code == 1
    marks = [line[0] for line in said.splitlines()]
    assert marks == [" ", "-", "+", "+"]
    assert said.splitlines()[-1] == "+add other"
    monkeypatch.setattr("sys.stdin", io.StringIO("add clat\nadd clat\n"))
    assert ctl("diff", "-")[2] == "nat46ctl: line 2: clat exists already, expected a name that is free\n"


def test_a_listing_is_compared_with_what_is_there_as_it_was_printed(ctl, target, tmp_path):
    """Its lines are commands, but these would turn the pairs round; and where it is cut they are none."""
    one = "local.v4 10.0.0.{0}/32 local.v6 2001:db8::{0}/128"
    cut = (
        f"local.v4 10.0.{{0}}.0/24 local.v6 {LONG} local.style RFC6052 remote.v6 {LONG} remote.style RFC6052"
    )
    ours = Translator(target)
    ours.create("whole", [one.format(i) for i in (1, 2, 3)])
    ours.create("cut", [cut.format(i) for i in (1, 2, 3)])
    file = tmp_path / "before"
    file.write_text(target.read())
    assert ctl("diff", str(file)) == (0, "", "")
    assert ctl("check", str(file)) == (0, "", "")
    file.write_text("# without the empty line at its end\n" + target.read().rstrip())
    assert ctl("diff", str(file)) == (0, "", "")
    ours.configure("cut", "local.v4 10.0.9.0/24")
    ours.configure("whole", "local.v4 10.0.9.9/32")
    code, said, _ = ctl("diff", str(file))
    assert (code, said.count("\n-"), said.count("\n+")) == (1, 6, 6)
    ours.delete("cut")
    assert "-add cut\n-  local.v4 10.0.1.0/24" in ctl("diff", str(file))[1]


@pytest.mark.parametrize("name", ["\u00fcn\u00ef", "\x85", "a\x1cb", "\udcff"])
def test_a_listing_with_any_name_and_commands_with_any_comment_are_read(
    ctl, target, tmp_path, monkeypatch, name
):
    target.module.devices[name] = Instance()
    listed, commands = tmp_path / "listed", tmp_path / "commands"
    listed.write_bytes(target.read().encode("utf-8", "surrogateescape"))
    commands.write_bytes(f"# {name}\r\nadd clat\r\n".encode("utf-8", "surrogateescape"))
    assert ctl("diff", str(listed)) == (0, "", "")
    target.module.devices = {"clat": Instance()}
    assert ctl("diff", str(commands)) == (0, "", "")
    for encoding in ("utf-8", "ascii"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(commands.open("rb"), encoding))
        assert ctl("diff", "-") == (0, "", "")


def test_a_name_gives_no_orders_to_the_terminal(ctl, target):
    target.module.devices["\x1b[31m\udcff\u00fc"] = Instance()
    shown = "\\x1b[31m\\udcff\u00fc"
    for command in ("show", "stat", "check"):
        assert ctl(command)[1].splitlines()[command == "show"].startswith(shown)
    assert ctl("diff", os.devnull)[1] == f"+add {shown}\n"
    assert ctl("show", "clat")[2] == f"nat46ctl: there is no device clat, expected one of {shown}\n"


def test_a_closed_input_is_one_sentence():
    words = [sys.executable, "-m", "nat46", "check", "-"]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *words], cwd=ROOT, capture_output=True, text=True)
    said = "nat46ctl: standard input cannot be read: it is closed\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_change_of_which_the_listing_shows_nothing_is_told(ctl, target):
    target.module.write(b"add clat")
    assert ctl("config", "clat", "--local", f"10.0.0.0/8={LONG}", "--remote", f"0.0.0.0/0={LONG}") == (
        0,
        "",
        "",
    )
    said = "nat46ctl: sent, and not confirmed: the listing of clat is cut before remote.psid-offset\n"
    assert ctl("config", "clat", "remote.psid-offset", "1") == (0, "", said)
    assert target.module.devices["clat"].pairs[0][1]["psid-offset"] == 1


def test_what_is_there_can_be_checked(ctl, target):
    ctl("add", "clat", "--local", LOCAL)
    assert ctl("check") == (0, "", "")
    target.module.write(b"config clat local.v4 10.126.0.1/16 remote.v6 64:ff9b::/97 remote.style RFC6052")
    target.mtu_bytes = lambda device: 16384
    target.module.write(b"add plat")
    code, said, _ = ctl("check")
    assert code == 1
    assert said.splitlines() == [
        "clat: its MTU is the module's own, 16384: set the mesh's (ip link set clat mtu 1280)",
        "clat: pair 1: local.v4 is 10.126.0.1/16",
        "clat: pair 1: remote.style RFC6052 does not take v6 64:ff9b::/97, "
        "expected a length of 32, 40, 48, 56, 64 or 96, in the same command",
        "plat: its MTU is the module's own, 16384: set the mesh's (ip link set plat mtu 1280)",
        "plat: it has no pair but empty ones, so it translates nothing",
    ]


def test_a_file_can_be_checked_without_a_translator(capsys, tmp_path):
    (tmp_path / "rules").write_text("add clat\nconfig clat local.style RFC6052\n")
    assert cli.main(["check", str(tmp_path / "rules")]) == 1
    assert capsys.readouterr().out.startswith("clat: pair 1: local.style RFC6052 does not take v6 ::/0")


@pytest.mark.parametrize("command", ["", *filter(None, cli.EXAMPLES)])
def test_help_teaches_by_example(ctl, command):
    code, said, _ = ctl(*command.split(), "--help")
    assert code == 0
    assert "nat46ctl" in said.split("example")[-1]
