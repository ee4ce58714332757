# SPDX-License-Identifier: ISC
"""What every daemon needs of its operating system, once: nothing here knows what a daemon is for."""
