# SPDX-License-Identifier: ISC
import sys

from l3roamd_py.cli import main

sys.exit(main())
