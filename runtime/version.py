# SPDX-License-Identifier: ISC
"""The version of all that this repository makes: the one place. Packages put their own in here, and the commit."""

VERSION = "0.1.0"
COMMIT = ""  # of a package's sources; in a checkout git is asked


def with_commit(program: str, commit: str) -> str:
    return "%s %s" % (program, VERSION) + (" (%s)" % commit if commit else "")
