# SPDX-License-Identifier: ISC
"""The xtables backend on a kernel without nftables, as on an older image of OpenWrt.

sdk/vm/suite.py runs this before anything has loaded nf_tables, and lets nothing load it.
"""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from rules_lab import RoamingMesh, walk_and_return

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = (
    "veth bridge tun ip_set ip_set_hash_ip xt_set xt_NETMAP ip6t_NPT ip6table_nat ip6table_mangle ip6table_raw "
    "iptable_mangle iptable_nat iptable_filter ip6table_filter xt_mark xt_conntrack xt_comment xt_tcpudp xt_TCPMSS "
    "xt_MASQUERADE xt_NFQUEUE nfnetlink_queue nf_conntrack_netlink xt_nat ipt_REJECT ip6t_REJECT"
)


@pytest.fixture(scope="module", autouse=True)
def no_nftables():
    if Path("/sys/module/nf_tables").exists():
        pytest.skip("nf_tables is in this kernel already: run the suite xtables first, in a fresh machine")
    lacking = [
        each for each in MODULES.split() if subprocess.run(["modprobe", each], capture_output=True).returncode
    ]
    print("modules that this kernel lacks:", " ".join(lacking) or "none")
    yield
    assert not Path("/sys/module/nf_tables").exists(), "something loaded nftables after all"


def test_nft_fails_here():
    assert subprocess.run(["nft", "add", "table", "ip", "trial"], capture_output=True).returncode


def test_open_connections_walk_with_iptables_and_ipset(machines):
    with contextlib.closing(RoamingMesh(machines, "xtables-legacy")) as mesh:
        walk_and_return(mesh)


def test_the_choice_falls_on_xtables():
    code = "from l3roamd_py.netfilter.choice import choose_rules; print(choose_rules('auto')[1].__name__)"
    legacy = {"PATH": "/run/legacy:/usr/sbin:/usr/bin:/sbin:/bin"}
    Path("/run/legacy").mkdir(exist_ok=True)
    for program in ("iptables", "ip6tables"):
        for end in ("", "-save", "-restore"):
            link = Path(f"/run/legacy/{program}{end}")
            link.unlink(missing_ok=True)
            link.symlink_to(f"/usr/sbin/{program}-legacy{end}")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=legacy, capture_output=True, text=True
    )
    assert done.stdout.strip() == "XtablesPlatRules", done.stderr
