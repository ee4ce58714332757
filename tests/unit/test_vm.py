# SPDX-License-Identifier: ISC
"""sdk/vm/run: what it refuses, what it hands out, and that it takes its QEMU along. A program of sh plays QEMU."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sdk.vm import kernels

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
    from sdk.vm import machine
    machine.VIRTME = Path("/bin/true")
    machine.QEMU = "sh"
    machine.settings = lambda wishes: ""
    script = {script!r}
    machine.qemu_words = lambda wishes, folder, *told: ["sh", "-c", script, *map(str, told)]
    wishes = machine.Wishes(Path("/"), limit_s=float(sys.argv[1]), out=Path(sys.argv[2]))
    sys.exit(machine.run(wishes, ["true"]))
"""


def play(script, limit_s, out):
    """Start a run in which a script is QEMU: $0 the shared folder, $1 and $2 where output and errors go."""
    words = [sys.executable, "-c", textwrap.dedent(PLAY).format(script=script), str(limit_s), str(out)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=RUN.parents[2]
    )


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
    done = play(f"echo left >$0/out/file; {script}", limit_s, tmp_path / "out")
    heard = done.communicate(timeout=20)
    assert (done.returncode, heard[0]) == (status, said), heard
    assert heard[1].endswith(errors)
    assert (tmp_path / "out/file").read_text() == "left\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_takes_qemu_along(tmp_path, number):
    done = play(
        f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60",
        60,
        tmp_path / "out",
    )
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    done.send_signal(number)
    done.communicate(timeout=20)
    pid = (tmp_path / "pid").read_text().strip()
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < end, "QEMU goes on"
        time.sleep(0.01)
