# SPDX-License-Identifier: ISC
"""What the daemon decides: events in, actions out. No I/O, no clock. Imports nothing from outside but xlat464."""
