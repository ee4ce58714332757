# SPDX-License-Identifier: ISC
"""Taking chains of ours away, with what iptables over nftables made for them. Waits for programs: not for the loop."""

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket, TransactionError
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.program import is_there, run
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.xtables.saved import MADE_FOR_US, OwnChain, find, lines_to_remove, restore_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

REMOVE_WAIT_S = "50"  # that a program waits for the lock; below FINISH_S of program.py
ATTEMPTS = 3


def remove(chains: "Iterable[OwnChain]", made: "Container[str]" = ()) -> None:
    """Take chains of ours away, if they are there. Waits; raises RulesError. made: places that are there for us."""
    there = [chain for chain in chains if is_there(chain.program)]
    made_for_us = [chain for chain in there if _remove(chain) or chain.place in made]
    for chain in made_for_us:  # at the end: several of ours may hang on one
        _remove_built_in(chain)


def _remove(chain: OwnChain) -> bool:
    """Take a chain away; return whether the built-in chain was made for it."""
    found = find(chain, run([f"{chain.program}-save"]).split("\n"))
    for attempt in range(ATTEMPTS):
        if found.rules is None:
            break
        try:
            text = restore_text([(chain.table, lines_to_remove(chain, found))])
            run([f"{chain.program}-restore", "-w", REMOVE_WAIT_S, "-n"], text)
            break
        except RulesError:
            # while it waited for the lock somebody may have changed what is there
            seen, found = found, find(chain, run([f"{chain.program}-save"]).split("\n"))
            if found == seen or attempt == ATTEMPTS - 1:
                raise
    return any(MADE_FOR_US in jump for jump in found.jumps)


def _remove_built_in(chain: OwnChain) -> None:
    """Remove what iptables made of nftables for us; -X does nothing if it has rules, or another policy."""
    netfilter = NetfilterSocket()
    try:
        run([chain.program, "-w", REMOVE_WAIT_S, "-t", chain.table, "-X", chain.hook])
        empty = nftables.delete_table(chain.family, chain.table, nftables.ONLY_EMPTY)
        netfilter.commit(SUBSYSTEM_NFTABLES, [empty])
    except (RulesError, TransactionError):
        pass  # somebody uses it
    finally:
        netfilter.close()
