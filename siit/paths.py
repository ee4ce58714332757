# SPDX-License-Identifier: ISC
"""Where the daemon is, if nobody says otherwise."""

from pathlib import Path

SOCKET = Path("/run/siit/control.sock")
STATE = Path("/run/siit/rules")
