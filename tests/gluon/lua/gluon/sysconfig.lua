-- SPDX-License-Identifier: ISC
return { primary_mac = '12:34:56:78:9a:bc' }
