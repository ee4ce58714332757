-- SPDX-License-Identifier: ISC
local xlat464 = require 'gluon.xlat464_site'

xlat464.check_ranges({ need = need, need_one_of = need_one_of, in_domain = in_domain })
