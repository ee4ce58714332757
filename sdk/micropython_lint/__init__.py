# SPDX-License-Identifier: ISC
"""Read what runs on MicroPython for what the oldest one that OpenWrt has cannot do: `python -m sdk.micropython_lint`.

    rules.py   a table: what, since which version, what instead
    names.py   the names that are there
    check.py   a file in, findings out

The oldest is 1.23.0, which OpenWrt 24.10 and 25.12 have. Some of its faults cannot be found in the text:
to close a socket twice closes another one that has its number by then; os.urandom(-1) ends the program; JSON that ends
early is read as far as it goes, so prefixd/table.py checks its end; int.to_bytes and struct.pack cut what is too big.
"""
