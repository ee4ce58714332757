# SPDX-License-Identifier: ISC
"""What the tests in the virtual machine stand on: the lab's fixtures, and modules of the kernel."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[1] / "lab"
_spec = importlib.util.spec_from_file_location("lab_conftest", LAB / "conftest.py")
_lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lab)
lab_machine, lab_name, lab_of = _lab.lab_machine, _lab.lab_name, _lab.lab_of
machines = _lab.machines


def load(*modules):
    """Load modules of the kernel; the test is skipped, with a clear line, on one that has them not."""
    for module in modules:
        done = subprocess.run(["modprobe", *module.split()], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no kernel module {module}: {done.stderr.strip()}")


def load_nat46():
    """Load the module that NAT46_KO names, with the one that it needs."""
    file = os.environ.get("NAT46_KO")
    if not file:
        pytest.skip("NAT46_KO=/path/nat46.ko names no module")
    load("nf_defrag_ipv6")
    if not os.path.exists("/sys/module/nat46"):
        subprocess.run(["insmod", file], check=True)


@pytest.fixture(scope="session")
def lab_modules():
    """What a lab asks of the kernel, which loads none of it by itself in a namespace."""
    load(
        "veth",
        "bridge",
        "tun",
        "nf_tables",
        "nft_chain_nat",
        "nft_ct",
        "nft_masq",
        "nft_nat",
        "nft_reject_inet",
    )
