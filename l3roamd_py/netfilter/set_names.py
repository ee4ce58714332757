# SPDX-License-Identifier: ISC
"""A PLAT's set is named after its prefix, so that whoever comes after a crash knows whose it is. No I/O."""

PREFIX_BYTES = 12  # a /96


def name_of_plat(stem: str, plat: bytes) -> str:
    return stem + plat[:PREFIX_BYTES].hex()


def plat_of_name(stem: str, name: str) -> bytes | None:
    """The PLAT whose set has this name, None if it is no such set."""
    try:
        prefix = bytes.fromhex(name[len(stem) :])
    except ValueError:
        return None
    is_plat = len(prefix) == PREFIX_BYTES and name == name_of_plat(stem, prefix)
    return prefix + bytes(4) if is_plat else None
