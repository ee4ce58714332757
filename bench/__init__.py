# SPDX-License-Identifier: ISC
"""Speed and memory, measured. Each module has run() -> {key: figure}; `python -m bench` gathers them."""
