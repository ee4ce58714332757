-- SPDX-License-Identifier: ISC
-- Serve Gluon's status page once, as its CGI program does: lua5.1 status-page.lua ROOT
--
-- ROOT stands for the router's root folder. gluon-web, the page and Gluon's libraries are those that LUA_PATH finds, or
-- stand-ins of ours (tests/gluon/web.lua). What asks a router's kernel or its programs is a stand-in always.

local root = arg[1]

-- what the page reads of the router
local function moved(path)
	return path:gsub('^/lib/gluon', root .. '/lib/gluon'):gsub('^/sys/class/net', root .. '/sys/class/net')
end
local open, load = io.open, loadfile
io.open = function(path, ...) -- luacheck: ignore
	return open(moved(path), ...)
end
loadfile = function(path) -- luacheck: ignore
	return load((moved(path)))
end

local has_posix, posix = pcall(require, 'posix.glob')
if has_posix then -- Debian's takes no flags
	local glob = posix.glob
	posix.glob = function(pattern) return glob(pattern) end
end

local function nothing() end
local nobody = setmetatable({}, { __index = function() return nothing end })
for name, module in pairs({
	bit32 = {},
	hash = {},
	iwinfo = { nl80211 = nobody },
	pretty_hostname = { get = function() return os.getenv('HOSTNAME') end },
	['gluon.sysconfig'] = { primary_mac = '12:34:56:78:9a:bc' },
	['gluon.site'] = {
		site_name = function() return 'A site' end,
		next_node = { ip4 = function() return '10.46.0.1' end, ip6 = function() return 'fd46:4646:4646::1' end },
		prefix6 = function() return 'fd46:4646:4646::/64' end,
		domain_names = {},
	},
	['simple-uci'] = { cursor = function() return nobody end },
	ubus = {
		connect = function()
			return {
				call = function() return { interface = { { proto = 'gluon_mesh', up = true, device = 'mesh0' } } } end,
				close = nothing,
			}
		end,
		close = nothing,
	},
}) do
	package.preload[name] = function() return module end
end

local ok, cgi = pcall(require, 'gluon.web.cgi')
if not ok then
	cgi = require('web')
end
cgi({ base_path = root .. '/lib/gluon/status-page', layout_package = 'gluon-status-page', layout_template = 'layout' })
