# SPDX-License-Identifier: ISC
"""A lab of packages says what is missing before it starts, and why a node does not come up."""

import re
import subprocess

import pytest

from sdk.lab.machine import LabError
from sdk.lab.packaged import CLAT, COMMON, PLAT, ROAMING, TRANSLATOR, WHY, Packages, check_rules
from sdk.lab.plan import Plan
from sdk.lab.site import EXAMPLE, load_site
from sdk.lab.topology_reader import load_topology
from sdk.openwrt import node


@pytest.fixture
def plan():
    topology = load_topology("line")
    return Plan(topology, load_site(str(EXAMPLE), topology.settings.pool))


def test_a_package_that_is_not_built_and_an_interpreter_that_is_not_there_are_named(
    plan, tmp_path, monkeypatch
):
    names = (*COMMON, *TRANSLATOR, *CLAT, *PLAT, *(name for names in ROAMING.values() for name in names))
    for name in set(names) - {"prefixd"}:
        (tmp_path / f"{name}_1_all.ipk").touch()
    with pytest.raises(
        LabError, match=re.escape(f"{tmp_path} lacks prefixd: `make ipk` builds the packages")
    ):
        Packages(plan, "", {}, tmp_path)
    (tmp_path / "prefixd_1_all.ipk").touch()
    monkeypatch.setattr(node, "OLDEST", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(node.MICROPYTHON, raising=False)
    with pytest.raises(LabError, match="run on MicroPython: `make oldest-micropython` builds it"):
        Packages(plan, "", {}, tmp_path)
    monkeypatch.setenv(node.MICROPYTHON, "/somewhere/micropython")
    Packages(plan, "", {}, tmp_path)


@pytest.mark.parametrize("python", ["micropython", "python3.13/site-packages"])
def test_packages_without_the_rules_that_a_lab_wants_are_named(tmp_path, python):
    netfilter = tmp_path / "usr/lib" / python / "l3roamd_py/netfilter"
    (netfilter / "nft").mkdir(parents=True)
    check_rules(tmp_path, "nft", tmp_path)
    with pytest.raises(LabError, match="no roams by iptables: `XLAT464_ROAM_RULES=xtables make ipk`"):
        check_rules(tmp_path, "xtables", tmp_path)
    (netfilter / "xtables").mkdir()
    check_rules(tmp_path, "xtables", tmp_path)


def test_a_node_that_does_not_come_up_says_what_its_role_lacks(tmp_path):
    script = WHY.replace("/run/", f"{tmp_path}/")
    (tmp_path / "procd.log").write_text("noise\n464xlat: said last\n")
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stderr
    assert said.splitlines()[-1] == "464xlat: said last"
    (tmp_path / "464xlat").mkdir()
    (tmp_path / "464xlat/plat.problem").write_text("464xlat: plat up: there is no translator\n")
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stderr
    assert said == "464xlat: plat up: there is no translator\n"
