# shellcheck shell=sh
# SPDX-License-Identifier: ISC
# Whether babeld withdraws what it should: docs/babeld.md. What can be known is the version that it gives, and that ours
# has `+retract` behind it; not whether whoever built it has mended it otherwise.

# Say what is wrong with babeld; exit status 1 if nothing is known to be.
babeld_fault() {
	local version
	version=$(babeld -V 2>&1) || return 1
	version=${version#babeld-}
	case "$version" in
	*+retract*) return 1 ;;
	1.9 | 1.9[.-]* | 1.1[0-24] | 1.1[0-24]-* | 1.12.1 | 1.12.1-* | 1.13*) ;;
	*) return 1 ;;
	esac
	echo "babeld: $version withdraws wrong routes, if it is not patched: what left is missed late (docs/babeld.md)"
}
