# SPDX-License-Identifier: ISC
"""What a lab asks of the machine that carries it: programs, and a kernel that makes namespaces and devices."""

import os
import shutil
import subprocess

from sdk.lab.machine import LabError
from sdk.lab.process_table import RULES, environment

# what a lab runs, and the Debian package it is in
PROGRAMS = {
    "unshare nsenter setpriv mount": "util-linux",
    "hostname": "hostname",
    "bash": "bash",
    "ip": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "babeld": "babeld",
    "dnsmasq": "dnsmasq-base",
    "busybox": "busybox",
    "curl": "curl",
    "lua5.1": "lua5.1",
}
# what a lab asks of the kernel, and how to say that it has it not; tried in namespaces that end with the trial
ABILITIES = (
    (
        "true",
        "the kernel lets us make no namespaces: run this on the machine itself or in a privileged container",
    ),
    ("ip link add veth-a type veth peer name veth-b", "the kernel has no veth devices: load the module veth"),
    ("ip link add bridge-a type bridge", "the kernel has no bridges: load the module bridge"),
    ("nft add table inet trial", "the kernel has no nftables: load the module nf_tables"),
    (
        "test -c /dev/net/tun && ip tuntap add tap-a mode tap",
        "there are no TUN devices: load the module tun, or give the container /dev/net/tun",
    ),
)
TRIAL = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c"]


def check_machine() -> None:
    """Raise LabError if this machine cannot carry a lab: one sentence, what is missing and what to do."""
    if os.geteuid() != 0:
        raise LabError("a lab makes network namespaces, which needs root: run this as root, or with sudo")
    path = environment("")["PATH"]
    for programs, package in PROGRAMS.items():
        for program in programs.split():
            if shutil.which(program, path=path) is None:
                raise LabError(
                    f"{program} is not installed: apt-get install {package}, or `make demo`, which does"
                )
    rules = os.environ.get(RULES, "")
    for program in ("iptables-legacy", "ip6tables-legacy", "ipset") if "xtables" in rules else ():
        if shutil.which(program, path=path) is None:
            raise LabError(f"{program} is not installed: apt-get install iptables ipset")
    for command, sentence in ABILITIES:
        if subprocess.run([*TRIAL, command], stdin=subprocess.DEVNULL, capture_output=True).returncode:
            raise LabError(sentence)
