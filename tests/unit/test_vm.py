# SPDX-License-Identifier: ISC
"""sdk/vm/run: what it refuses, what it hands out, and that it takes its QEMU along; and `make test-vm`, which
suites it runs. A program of sh plays QEMU."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from waiting import wait_until

from sdk.vm import kernels, suite

RUN = Path(__file__).resolve().parents[2] / "sdk/vm/run"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "required: CMD"),
        (("--kernel", "../etc", "--", "true"), "'../etc' is no version of a kernel"),
        (("--kernel", "2.4.0", "--", "true"), "there is no kernel 2.4.0"),
        (("--kernel", "default", "--", "true"), "'default' is no version of a kernel"),
        (("--module", "/etc/passwd", "--", "true"), "'/etc/passwd' is not a kernel module's file (.ko)"),
        (("--module", "/no.ko", "--", "true"), "'/no.ko' is not a kernel module's file (.ko)"),
        (("--limit", "0", "--", "true"), "'0' is not a whole number from 1 to 86400"),
        (("--memory", "much", "--", "true"), "'much' is not a whole number from 512"),
        (("--out", "/etc/passwd", "--", "true"), "'/etc/passwd' is not a folder"),
        (("--frobnicate", "--", "true"), "--frobnicate"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence):
    done = subprocess.run([RUN, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("vm: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_kernel_is_fetched_by_version_only():
    with pytest.raises(kernels.VmError, match="no version of a kernel"):
        kernels.fetch("../../etc")


PLAY = """
    import sys
    from pathlib import Path
    from sdk.interrupt import run_program
    from sdk.vm import __main__, machine, suite
    machine.VIRTME = Path("/bin/true")
    machine.QEMU = "sh"
    machine.settings = lambda options: ""
    script, out = {script!r}, Path({out!r})
    machine.qemu_words = lambda options, folder, *told: ["sh", "-c", script, *map(str, told)]
    suite.find = __main__.find = lambda version: Path("/")
    suite.OUT, suite.compile_outside = out, lambda suites: None
"""
STARTS = {
    "a run": 'sys.exit(machine.run(machine.MachineOptions(Path("/"), limit_s={limit_s}, out=out), ["true"]))',
    "sdk/vm/run": 'sys.argv[1:] = ["--out", str(out), "true"]; sys.exit(run_program("vm", __main__.main))',
    "make test-vm": "sys.argv[1:] = []; sys.exit(suite.main())",
}


QEMUS = {"a run": 1, "sdk/vm/run": 1, "make test-vm": 2}


def play(script, out, limit_s=60, start="a run", stdout=subprocess.PIPE):
    """Start a run in which a script is QEMU: $0 the shared folder, $1 and $2 where output and errors go."""
    program = textwrap.dedent(PLAY).format(script=script, out=str(out)) + STARTS[start].format(
        limit_s=limit_s
    )
    words = [sys.executable, "-c", program]
    return subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=RUN.parents[2])


@pytest.mark.parametrize(
    ("script", "limit_s", "status", "said", "errors"),
    [
        (
            'echo hello >/proc/self/fd/$1; echo oh >/proc/self/fd/$2; echo 7 >"$0/status"',
            20,
            7,
            "hello\n",
            "oh\n",
        ),
        ("echo panic", 20, 125, "", "its last: panic\n"),
        ("sleep 60", 0.3, 124, "", "vm: the time of 0.3 s is over, the command has not ended\n"),
    ],
)
def test_a_run_hands_out_status_and_output(tmp_path, script, limit_s, status, said, errors):
    done = play(f"echo left >$0/out/file; {script}", tmp_path / "out", limit_s)
    heard = done.communicate(timeout=60)
    assert (done.returncode, heard[0]) == (status, said), heard
    assert heard[1].endswith(errors)
    assert (tmp_path / "out/file").read_text() == "left\n"


def test_whatever_kind_of_file_is_left_is_handed_out_twice_and_the_folder_stays_as_it_is(tmp_path):
    script = """
        cd $0/out; mkdir folder; mkfifo pipe; ln -s /nowhere link; echo left >folder/file; echo 3 >$0/status
    """
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o1777)
    for _ in range(2):
        done = play(script, out)
        assert done.communicate(timeout=60) == ("", "")
        assert done.returncode == 3
    assert (out / "folder/file").read_text() == "left\n"
    assert (out / "pipe").is_fifo()
    assert (out / "link").is_symlink()
    assert out.stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("script", ["rm -r $0/out; echo 0 >$0/status", "rm -r $0/out; echo 5 >$0/status"])
def test_what_cannot_be_handed_out_is_told_in_a_sentence(tmp_path, script):
    done = play(script, tmp_path / "out")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == (5 if "5" in script else 2)
    assert errors.startswith("vm: `find ")
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_is_told_before_anything_is_booted(tmp_path):
    (tmp_path / "file").touch()
    done = play(f"touch {tmp_path}/booted", tmp_path / "file/out", start="sdk/vm/run")
    assert done.communicate(timeout=60) == ("", f"vm: {tmp_path}/file/out: Not a directory\n")
    assert done.returncode == 2
    assert not (tmp_path / "booted").exists()


def test_the_time_limit_holds_although_nobody_reads_what_the_command_says(tmp_path):
    done = play("cat /dev/zero >/proc/self/fd/$1", tmp_path / "out", 2)
    assert done.wait(timeout=60) == 124
    done.communicate()


def test_a_full_disk_does_not_end_the_command(tmp_path):
    with open("/dev/full", "w") as full:
        done = play('echo hello >/proc/self/fd/$1; echo 4 >"$0/status"', tmp_path / "out", stdout=full)
        assert done.communicate(timeout=60) == (None, "")
    assert done.returncode == 4


def test_the_folder_that_it_is_started_in_is_none_of_its_modules(tmp_path):
    for name in ("argparse", "sdk"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('another module')")
    (tmp_path / "run").symlink_to(RUN)
    for program in (RUN, tmp_path / "run"):
        done = subprocess.run(
            [program, "--kernel", "2.4.0", "true"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stderr.startswith("vm: there is no kernel 2.4.0")


def test_a_default_kernel_that_is_gone_is_fetched_again(tmp_path, monkeypatch):
    def unpack(package, downloads, folder):
        (folder / "boot").mkdir(parents=True)
        (folder / "boot" / package.replace("linux-image", "vmlinuz")).touch()

    monkeypatch.setattr(kernels, "KERNELS", tmp_path)
    monkeypatch.setattr(kernels, "DEFAULT", tmp_path / "default")
    monkeypatch.setattr(kernels, "BUSYBOX", RUN)
    monkeypatch.setattr(kernels, "newest", lambda: "6.1.0-99-amd64")
    monkeypatch.setattr(kernels.sys, "argv", ["kernels"])
    monkeypatch.setattr(kernels, "unpack", unpack)
    monkeypatch.setattr(kernels, "run", lambda *words: "")
    (tmp_path / "default").symlink_to("6.1.0-1-amd64")
    assert kernels.main() == 0
    assert kernels.find(None) == tmp_path / "6.1.0-99-amd64"


@pytest.fixture
def playing(tmp_path):
    """A function that starts a run, waits until its QEMUs do, and returns the run, a function that waits until they are
    gone, and the folders that they share."""

    def started(start):
        folder = tmp_path / "pids"
        folder.mkdir()
        script = f"echo $0 >{folder}/$$.new; mv {folder}/$$.new {folder}/$$; exec sleep 600"
        program = play(script, tmp_path / "out", 600, start)
        wait_until(lambda: len(list(folder.glob("*[0-9]"))) == QEMUS[start], "QEMU")
        shares = {file.name: Path(file.read_text().strip()) for file in folder.iterdir()}
        end = "the end of QEMU"
        return program, lambda: wait_until(lambda: not any(map(is_alive, shares)), end), list(shares.values())

    return started


def is_alive(pid):
    """Whether a process runs; an orphan that is dead stays in the table where the first process collects none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("start", ["a run", "make test-vm"])
def test_a_run_that_is_ended_takes_qemu_along(playing, start, number):
    program, wait_for_qemus_end, _ = playing(start)
    program.send_signal(number)
    program.communicate(timeout=60)
    wait_for_qemus_end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("start", ["sdk/vm/run", "make test-vm"])
def test_a_command_that_is_interrupted_says_so_in_a_sentence_and_leaves_nothing(playing, start, number):
    program, wait_for_qemus_end, shares = playing(start)
    program.send_signal(number)
    heard = program.communicate(timeout=60)
    assert (program.returncode, *heard) == (130, "", "vm: interrupted\n")
    wait_for_qemus_end()
    assert not any(share.parent.exists() for share in shares)


# --- the suites in the machine ------------------------------------------------------------------------------


@pytest.fixture
def suites(monkeypatch, tmp_path):
    """What would be run in the machine: the names of suites, whether nftables was forbidden, and what each says."""
    ran = {}
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.delenv("NAT46_KO", raising=False)
    monkeypatch.setattr(suite, "NO_NFTABLES", tmp_path / "no-nftables.conf")
    monkeypatch.setattr(suite.subprocess, "run", lambda words, check: None)

    def run_suite(one, more):
        ran[one.name] = suite.NO_NFTABLES.exists()
        return {"status": int(one.name == "links"), "s": 1}

    monkeypatch.setattr(suite, "run_suite", run_suite)
    return ran


def test_only_its_own_suite_sees_no_nftables_and_those_of_nat46_say_that_they_are_skipped(suites, capsys):
    assert suite.inside([], []) == 1, "links failed"
    assert suites == dict.fromkeys(("wifi", "fast", "limit", "links", "diamond", "conformance"), False) | {
        "xtables": True
    }
    said = capsys.readouterr().out
    for name in ("nat46", "nat46-diamond", "nat46-pairs", "nat46-storms"):
        assert f"vm: {name}: skipped, NAT46_KO=/path/nat46.ko names no module\n" in said
    assert "vm: links: failed after 1 s" in said


def test_a_suite_that_must_not_have_nftables_is_the_first_in_its_machine():
    machines = {each.machine for each in suite.SUITES}
    first = [next(each for each in suite.SUITES if each.machine == number) for number in machines]
    assert {each for each in suite.SUITES if each.without_nftables} <= set(first)


def test_with_a_module_all_suites_run(suites, monkeypatch):
    monkeypatch.setenv("NAT46_KO", "/nat46.ko")
    suite.inside([], [])
    assert set(suites) == {each.name for each in suite.SUITES}
    suites.clear()
    assert suite.inside(["wifi"], []) == 0
    assert set(suites) == {"wifi"}


def test_each_suite_runs_in_one_of_the_machines_and_what_one_of_them_says_counts(tmp_path):
    script = """
        cp $0/command $0/out/
        if grep -q links $0/command; then echo 3 >$0/status; exit; fi
        echo 0 >$0/status; echo fine >/proc/self/fd/$1
    """
    (tmp_path / "out").mkdir()
    (tmp_path / "out/of_an_earlier_run").touch()
    done = play(script, tmp_path / "out", start="make test-vm")
    assert done.communicate(timeout=60) == ("fine\n", "")
    assert done.returncode == 3
    commands = [(tmp_path / "out" / number / "command").read_text() for number in ("1", "2")]
    for each in suite.SUITES:
        assert sum(f"--only={each.name}" in command.split() for command in commands) == 1
    assert not (tmp_path / "out/of_an_earlier_run").exists()


def test_a_machine_that_somebody_kills_is_no_success(tmp_path):
    script = "echo 0 >$0/status; grep -q links $0/command && kill -9 $PPID"
    done = play(script, tmp_path / "out", start="make test-vm")
    done.communicate(timeout=60)
    assert done.returncode == 125


def test_a_wrong_option_leaves_what_the_last_run_has_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "wifi.log").touch()
    monkeypatch.setattr(suite, "OUT", tmp_path)
    monkeypatch.setattr(suite, "compile_outside", lambda suites: None)
    monkeypatch.setattr(sys, "argv", ["suite", "--kernel", "2.4.0"])
    monkeypatch.setattr(suite, "run_program", lambda name, main: main())
    assert suite.main() == 2
    assert "there is no kernel 2.4.0" in capsys.readouterr().err
    assert (tmp_path / "wifi.log").exists()


def test_what_a_suite_says_is_told_and_kept_and_one_that_does_not_end_is_ended(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("OUT", str(tmp_path))
    wrong = tmp_path / "test_wrong.py"
    wrong.write_text("import time\ndef test_a(): assert 0, 'a word'\ndef test_b(): time.sleep(60)\n")
    monkeypatch.setattr(suite, "SLIM", ("-p", "no:hypothesispytest", "-p", "no:randomly"))
    result = suite.run_suite(suite.Suite("slow", (str(wrong),), 3, 1), [])
    assert result["status"] == suite.LATE
    assert 3 <= result["s"] < 20
    said = capfd.readouterr().out
    assert "AssertionError: a word" in said
    assert said.endswith("vm: slow: not over after 3 s\n")
    assert "AssertionError: a word" in (tmp_path / "slow.log").read_text()
