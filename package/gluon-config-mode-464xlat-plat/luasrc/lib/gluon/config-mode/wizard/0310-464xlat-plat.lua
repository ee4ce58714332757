-- SPDX-License-Identifier: ISC
-- Whether this node's owner shares the internet connection, and how much of it.

return function(form, uci)
	local pkg_i18n = i18n 'gluon-config-mode-464xlat-plat'
	local s = form:section(Section, nil, pkg_i18n.translate(
		'If you share your internet connection, everybody in the mesh reaches the public IPv4 internet through it ' ..
		'and under your IP address, but nothing in your own network.'
	))

	local share = s:option(Flag, 'xlat464_share', pkg_i18n.translate('Share internet connection'))
	share.default = uci:get_bool('464xlat', 'plat', 'enabled')
	function share.write(_, data)
		uci:set('464xlat', 'plat', 'enabled', data)
	end

	local function kbit(option)
		return tonumber(uci:get('464xlat', 'plat', option)) or 0
	end
	local is_limited = kbit('limit_up_kbit') > 0 or kbit('limit_down_kbit') > 0

	local limit = s:option(Flag, 'xlat464_limit', pkg_i18n.translate('Limit bandwidth'))
	limit:depends(share, true)
	limit.default = is_limited or not share.default -- who begins to share is asked for how much
	function limit.write(_, data)
		if not data then
			uci:set('464xlat', 'plat', 'limit_up_kbit', '0')
			uci:set('464xlat', 'plat', 'limit_down_kbit', '0')
		end
	end

	local function need_mbit(option, title)
		local o = s:option(Value, 'xlat464_' .. option, title)
		o:depends(limit, true)
		o.default = kbit(option) > 0 and kbit(option) / 1000 or nil
		o.datatype = 'range(0.064,10000)'
		function o.write(_, data)
			uci:set('464xlat', 'plat', option, ('%d'):format(data * 1000 + 0.5))
		end
	end
	need_mbit('limit_down_kbit', pkg_i18n.translate('Downstream (Mbit/s)'))
	need_mbit('limit_up_kbit', pkg_i18n.translate('Upstream (Mbit/s)'))

	function s.write()
		uci:save('464xlat')
	end
end
