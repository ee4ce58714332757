# SPDX-License-Identifier: ISC
"""What `pip install .` compiles; all else is in pyproject.toml."""

import os
import sys

from setuptools import setup

HERE = os.path.dirname(os.path.abspath(__file__))
os.chdir(HERE)
sys.path.insert(0, HERE)  # the sources say themselves what is compiled of them
setup(cffi_modules=["siit/_build.py:make_for_pip", "nat46/_build.py:make"])
