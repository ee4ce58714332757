-- SPDX-License-Identifier: ISC
return { primary_mac = assert(os.getenv('PRIMARY_MAC')) }
