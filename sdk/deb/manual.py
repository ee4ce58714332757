# SPDX-License-Identifier: ISC
"""Manual pages, of what commands say with --help: the one place where options are explained. Pure."""

from collections.abc import Sequence

HEAD = """\
.\\" SPDX-License-Identifier: ISC
.TH {title} {section} "{date}" "464xlat {version}"
.SH NAME
{name} \\- {about}
.SH DESCRIPTION
.nf
"""


def page(name: str, section: str, about: str, lines: Sequence[str], version: str, date: str) -> str:
    """Return a page; date as YYYY-MM-DD."""
    head = HEAD.format(
        title=escape(name.upper()),
        section=section,
        date=date,
        version=version,
        name=escape(name),
        about=about,
    )
    return head + "".join(f"{escape(line)}\n" for line in lines if "SPDX-License" not in line) + ".fi\n"


def escape(line: str) -> str:
    """What roff would take for its own: a backslash, a minus that is to be one, a dot or quote at the beginning."""
    text = line.rstrip().replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text
