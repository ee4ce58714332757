# SPDX-License-Identifier: ISC
"""The version of all that this repository makes: the one place. A package puts its own in here, with its release."""

VERSION = "0.1.0"
