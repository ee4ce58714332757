# SPDX-License-Identifier: ISC
"""The control language of stateless translators, as the kernel module nat46 speaks it, and a shim to speak it with.

language.py is the language: text in, values out, and back. Who only sends commands (prefixd, the sh library) writes
the text itself and needs nothing from here. For programs that want an answer there is

    from nat46 import Translator
    Translator().create("clat", ["local.v4 10.1.0.0/16 local.v6 fd00:1::/96 local.style RFC6052"])

whose reference is docs/nat46.md. Importing this package loads nothing: a name is loaded when it is first used.
"""

TYPE_CHECKING = False  # typing costs more than all of this
if TYPE_CHECKING:
    from typing import Any

_HOMES = {
    "errors": (
        *(
            "CallFailed",
            "CffiMissing",
            "DaemonMissing",
            "DeviceExists",
            "ModuleMissing",
            "Nat46Error",
            "NoDevice",
            "NoPair",
        ),
        *("NotApplied", "NotPermitted", "NotVisible", "Refused", "Rejected", "Unreadable"),
    ),
    "kernel": ("KernelTarget",),
    "language": ("Pair", "Rule"),
    "listing": ("Device", "Shown"),
    "target": ("Statistics",),
    "translator": ("Translator", "find_target"),
    "userspace": ("SiitTarget",),
}


def __getattr__(name: str) -> "Any":
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"nat46.{module}"), name)
    raise AttributeError(f"module 'nat46' has no attribute {name!r}")
