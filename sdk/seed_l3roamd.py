# SPDX-License-Identifier: ISC
"""The roaming daemon with the seed document's rules on the platnode, for the demo: `python -m sdk.seed_l3roamd …`."""

import sys

from l3roamd_py.cli import main
from l3roamd_py.netfilter import choice
from sdk.seed_rules import SeedPlatRules


def choose_rules(wanted: str = "auto") -> tuple[type, type]:
    clat_rules, _ = ours(wanted)
    return clat_rules, SeedPlatRules


ours = choice.choose_rules
choice.choose_rules = choose_rules

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
