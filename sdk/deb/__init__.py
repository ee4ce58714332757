# SPDX-License-Identifier: ISC
"""Debian packages without debhelper: `make deb`.

recipes.py    which packages there are, and what is in each
tree.py       a package's files and what dpkg is told of it, as a folder
scripts.py    what a package does when it is installed, upgraded, removed, purged
manual.py     manual pages, of what commands say with --help
compiled.py   what a compiler makes, for this machine's architecture or another one's
"""
