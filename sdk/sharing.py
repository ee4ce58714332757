# SPDX-License-Identifier: ISC
"""A plugin of pytest's, `-p sdk.sharing --share=FOLDER`: several runs share one list of test files.

Each takes the next file that none of the others has taken, in the order of its own command line, and runs all of it:
what a module sets up is set up once. A file in the folder says that a test file is taken.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", metavar="FOLDER", type=Path, help="where runs say which files they take")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run what we take, as pytest's own loop does with everything; that one runs if there is nothing to share."""
    folder = session.config.getoption("--share")
    if folder is None or session.config.option.collectonly or session.testsfailed:
        return None
    items = taken(session.items, folder)
    item = next(items, None)
    while item is not None:
        following = next(items, None)  # what is set up for both stays
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def taken(items: list[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    for path, several in itertools.groupby(items, key=lambda item: item.path):
        if take(path, folder):
            yield from several


def take(path: Path, folder: Path) -> bool:
    """Return whether no other run has taken this file, and take it."""
    try:
        os.close(os.open(folder / str(path).replace("/", "+"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
