-- SPDX-License-Identifier: ISC
return {
	primary_mac = assert(os.getenv('PRIMARY_MAC')),
	gluon_version = os.getenv('GLUON_VERSION'), -- of an earlier start, if there was one
}
