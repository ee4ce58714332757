# SPDX-License-Identifier: ISC
"""How patient waits are: SLOWER=8 in the environment is a machine that needs eight times as long, as an emulated one.

What multiplies with it is when to give up. How long something may take by its specification does not.
"""

import os

SLOWER = float(os.environ.get("SLOWER", "1"))
