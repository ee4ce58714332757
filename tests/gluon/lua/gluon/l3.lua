-- SPDX-License-Identifier: ISC
local M = {}

function M.node_client_prefix6()
	return 'fd00:1234:5678:9abc::/64'
end

return M
