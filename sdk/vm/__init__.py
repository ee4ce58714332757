# SPDX-License-Identifier: ISC
"""A virtual machine with a Debian kernel over this machine's live root file system.

kernels.py fetches kernels, machine.py boots one, init is the first process in it, modules.py builds modules for it.
"""
