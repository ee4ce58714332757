# SPDX-License-Identifier: ISC
"""Everybody's firewall rules on this machine, as tables. Changes nothing."""

import shutil
from collections.abc import Iterable, Iterator

from reach import ruleset_iptables, ruleset_nft
from reach.command import KernelError, run
from reach.ruleset import Table

# one of the first two is what the others' name stands for; a machine may have rules in both
PROGRAMS = [("iptables", 4), ("iptables-nft", 4), ("iptables-legacy", 4)]
PROGRAMS += [("ip6tables", 6), ("ip6tables-nft", 6), ("ip6tables-legacy", 6)]
BY_NFT = "(nf_tables)"  # in the first line of who keeps its rules in nf_tables
NOT_ALL = "' contains incompatible base-chains"  # of a table, before it prints the chains of its own


def read_tables() -> list[Table]:
    """Return all tables, as root may see them. Raises KernelError."""
    return tables_of(listings(), run("nft", "-j", "list", "ruleset"))


def listings() -> Iterator[tuple[str, int, str]]:
    """Each program of iptables, its family, and what it says."""
    for program, family in PROGRAMS:
        if shutil.which(f"{program}-save"):
            try:
                yield program, family, run(f"{program}-save")
            except KernelError:  # the kernel has no such tables
                continue


def tables_of(listed: Iterable[tuple[str, int, str]], by_nft: str) -> list[Table]:
    """Everybody's tables; those that iptables keeps in nf_tables as it prints them, for it knows what they mean."""
    found: list[Table] = []
    by_iptables: set[str] = set()
    for program, family, text in listed:
        tables = ruleset_iptables.read(program, family, text)
        if BY_NFT in text:
            names = [each.name.split()[-1] for each in tables]
            ip = "ip" if family == 4 else "ip6"
            by_iptables |= {f"table {ip} {name}" for name in names if name + NOT_ALL not in text}
        known = [(each.families, each.chains) for each in found]
        found += [each for each in tables if (each.families, each.chains) not in known]
    return found + [each for each in ruleset_nft.read(by_nft) if each.name not in by_iptables]
