-- SPDX-License-Identifier: ISC
-- A stand-in for the controller of Gluon's status page.

local json = require 'jsonc'
local util = require 'gluon.util'

entry({}, call(function(_, renderer)
	local nodeinfo = json.parse(util.exec('exec gluon-neighbour-info -d ::1 -p 1001 -t 3 -c 1 -r nodeinfo'))
	renderer.render_layout('status-page', { nodeinfo = nodeinfo }, 'gluon-status-page')
end), 'Status', 1)
