# SPDX-License-Identifier: ISC
"""The translator under AddressSanitizer and UBSan, against packets that somebody made up to hurt it."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "siit" / "src"
TRANSLATOR = sorted(path for path in SOURCES.glob("*.c") if path.name != "pump.c")
STRICT = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
HARNESS = ROOT / "tests" / "fuzz" / "siit_translate.c"
PACKETS = 200_000


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    """The harness as a program: gcc has what it needs, libFuzzer is not required."""
    program = tmp_path_factory.mktemp("fuzz") / "siit_translate"
    command = [
        "gcc",
        *STRICT,
        "-Wno-conversion",
        *SANITIZE,
        f"-I{SOURCES}",
        HARNESS,
        *TRANSLATOR,
        "-o",
        program,
    ]
    subprocess.run(command, check=True)
    return program


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_packet_makes_the_translator_misbehave(fuzzer, seed):
    result = subprocess.run([fuzzer, str(PACKETS), str(seed)], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-4000:]
    verdicts = dict(line.split() for line in result.stdout.splitlines())
    never = {name for name, count in verdicts.items() if count == "0"}
    assert never <= {"too-long"}, "the fuzzer no longer reaches these"
    assert int(verdicts["reassembled"]) > PACKETS / 200


@pytest.mark.parametrize("source", TRANSLATOR, ids=lambda path: path.name)
def test_the_translator_compiles_without_a_warning(source, tmp_path):
    subprocess.run(["gcc", *STRICT, "-O2", "-c", source, "-o", tmp_path / "object"], check=True)
