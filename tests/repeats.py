# SPDX-License-Identifier: ISC
"""How often tests do again what shows little that is new: often in `make test-long`, which says LONG=1."""

import os

IS_LONG = os.environ.get("LONG") == "1"
