# SPDX-License-Identifier: ISC
"""What another Debian than this machine's has: packages, sources, a whole root. All of it stays in build/."""
