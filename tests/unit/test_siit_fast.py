# SPDX-License-Identifier: ISC
"""The fast path without a device: its instructions are those of its source, and which kernels cut chains right."""

import importlib.util
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from siit import fast, fast_trial
from siit.fast import cuts_chains

BPF = Path(__file__).resolve().parents[2] / "siit" / "bpf"
STRICT = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def make_insns():
    spec = importlib.util.spec_from_file_location("make_insns", BPF / "make_insns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not shutil.which(module.CLANG):
        pytest.skip(f"there is no {module.CLANG} (make setup)")
    return module


def test_the_instructions_are_those_of_the_source(make_insns):
    assert make_insns.header() == make_insns.HEADER.read_text(), "make bpf"


@pytest.mark.parametrize("source", sorted(BPF.glob("[!f]*.c")), ids=lambda path: path.name)
def test_the_loader_compiles_without_a_warning(source, tmp_path):
    includes = [f"-I{BPF}", f"-I{BPF.parent / 'src'}"]
    subprocess.run(["gcc", *STRICT, *includes, "-c", source, "-o", tmp_path / "object"], check=True)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("5.15.0-100-generic", False),
        ("6.1.0-37-amd64", False),
        ("6.6.110", False),
        ("6.12.68", False),
        ("6.12.69", True),
        ("6.12.69-rt1", True),
        ("6.12.100+deb13-amd64", True),
        ("6.13.12", False),
        ("6.18.8", False),
        ("6.18.44-fc-v657", True),
        ("6.19", True),
        ("6.19.0-rc8", True),
        ("7.0.1", True),
        ("10.2", True),
        ("nonsense", False),
    ],
)
def test_chains_are_taken_where_the_kernel_cuts_them_right(release, expected):
    assert cuts_chains(release) is expected


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and TUN")
@pytest.mark.parametrize("kind", fast_trial.packets())
def test_the_trial_sees_a_packet_that_comes_out_otherwise(kind, monkeypatch):
    def other(rules, packet):
        verdict, (made,) = translate_packet(rules, packet)
        data = made.data[:-1] + bytes((made.data[-1] ^ (packet == wrong),))
        return verdict, [replace(made, data=data)]

    assert fast_trial.reason_against() == ""
    wrong, translate_packet = fast_trial.packets()[kind], fast_trial.translate_packet
    monkeypatch.setattr(fast_trial, "translate_packet", other)
    assert fast_trial.reason_against() == f"tried with {kind}, it came out wrong"


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and TUN")
@pytest.mark.parametrize(("release", "takes_lists"), [("6.6.110", False), ("6.19.0", True)])
def test_lists_may_come_to_a_device_only_on_kernels_that_cut_them_right(release, takes_lists, monkeypatch):
    """On others the program leaves them to the pump, which gets their packets one by one."""
    monkeypatch.setattr(fast, "cuts_chains", lambda _: cuts_chains(release))
    found = []

    def attach():
        queue = fast_trial._set_up()
        program = fast.Fast(fast_trial.NAME, fast_trial.RULES)
        found.append((program.is_attached, program.takes_lists))
        program.close()
        os.close(queue)

    thread = threading.Thread(target=attach)
    thread.start()
    thread.join()
    assert found == [(True, takes_lists)]


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and TUN")
def test_the_trial_sees_a_packet_that_does_not_come_out(monkeypatch):
    monkeypatch.setattr(fast_trial, "ANSWER_S", 0.1)
    monkeypatch.setattr(fast_trial, "CLIENT", bytes((203, 0, 113, 1)))  # which the program's rules do not map
    monkeypatch.setattr(fast_trial, "translate_packet", lambda rules, packet: ("translated", [packet]))
    assert fast_trial.reason_against() == "tried with TCP in IPv4, nothing came out"
