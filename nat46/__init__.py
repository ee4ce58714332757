# SPDX-License-Identifier: ISC
"""The control language of stateless translators, as the kernel module nat46 speaks it.

language.py is the language: text in, values out, and back. Who only sends commands (prefixd, the sh library)
writes the text itself and needs nothing from here.
"""
