# SPDX-License-Identifier: ISC
"""Child processes that last as long as a `with` block."""

import contextlib
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def running(*processes: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
