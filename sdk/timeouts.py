# SPDX-License-Identifier: ISC
"""TIMEOUT_SCALE in the environment multiplies timeouts: 8 suits an emulated machine, which needs eight times as long.

Only the time after which we give up is multiplied. Limits that a specification gives are not.
"""

import os

TIMEOUT_SCALE = float(os.environ.get("TIMEOUT_SCALE", "1"))
