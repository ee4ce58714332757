# SPDX-License-Identifier: ISC
"""What a Makefile says of a package becomes what opkg reads: control file, scripts, index. No I/O.

Dependencies in a Makefile are words of OpenWrt's build system:

    +NAME         needs NAME, and selects it          +CONDITION:NAME   the same, if the configuration symbol is set
    NAME          needs NAME                          !SYMBOL           negates a condition's symbol
    @SYMBOL       is only offered where SYMBOL is set; nothing for a router
"""

from collections.abc import Iterable, Mapping

EVERY_PACKAGE_NEEDS = "libc"  # OpenWrt adds it, and so its dependency is the real packages' too
WRITTEN = (
    "Package",
    "Version",
    "Depends",
    "Conflicts",
    "Provides",
    "SourceName",
    "License",
    "Section",
    "URL",
)

# OpenWrt's own, which enable a service at its installation and stop it before its removal
POSTINST = """\
#!/bin/sh
[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_postinst $0 $@
"""
PRERM = """\
#!/bin/sh
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_prerm $0 $@
"""


def parse_fields(text: str) -> dict[str, str]:
    """Return the fields as the Makefile has them, runs of blanks as one."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields[name] = " ".join(value.split())
    return fields


def is_set(condition: str, symbols: Iterable[str]) -> bool:
    """Whether a dependency's condition holds: SYMBOL, !SYMBOL, and several of them with && or ||."""
    set_symbols = frozenset(symbols)

    def is_met(term: str) -> bool:
        return (
            term.removeprefix("!") in set_symbols if not term.startswith("!") else term[1:] not in set_symbols
        )

    return any(all(is_met(term) for term in part.split("&&")) for part in condition.split("||"))


def depends(words: str, symbols: Iterable[str]) -> list[str]:
    """Return the names that a package needs at run time, in order and each once."""
    names = [EVERY_PACKAGE_NEEDS]
    for word in words.split():
        condition, colon, name = word.lstrip("+").rpartition(":")
        if word.startswith("@") or (colon and not is_set(condition, symbols)):
            continue
        if name not in names:
            names.append(name)
    return names


def control(
    fields: Mapping[str, str], description: str, symbols: Iterable[str], size: int, epoch: int
) -> str:
    """Return the control file; size is of the installed files, in bytes."""
    written = dict(fields)
    written["Depends"] = ", ".join(depends(fields["Depends"], symbols))
    written["Conflicts"] = ", ".join(fields["Conflicts"].split())
    written["Provides"] = ", ".join([f"{fields['Package']}-any", *fields["Provides"].split()])
    lines = [f"{name}: {written[name]}" for name in WRITTEN if written.get(name)]
    lines += [f"SourceDateEpoch: {epoch}", f"Maintainer: {fields['Maintainer']}"]
    lines += [f"Architecture: {fields['Architecture']}", f"Installed-Size: {size}"]
    text = [line.strip() for line in description.splitlines() if line.strip()] or [fields["Title"]]
    lines += [f"Description: {text[0]}", *(f" {line}" for line in text[1:])]
    return "\n".join(lines) + "\n"


def scripts(given: Mapping[str, str]) -> dict[str, str]:
    """Return the control archive's files beside `control`, by name; OpenWrt's postinst runs a Makefile's own."""
    files = {"postinst": POSTINST, "prerm": PRERM}
    for name, text in given.items():
        files[f"{name}-pkg" if name in files else name] = text.strip("\n") + "\n"
    return files


def index_entry(control_text: str, filename: str, size: int, sha256: str) -> str:
    """Return a package's paragraph of the file Packages: its control file, and where the archive is."""
    head, separator, description = control_text.partition("Description: ")
    return f"{head}Filename: {filename}\nSize: {size}\nSHA256sum: {sha256}\n{separator}{description}\n"
