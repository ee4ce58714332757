-- SPDX-License-Identifier: ISC
local M = {}

-- Gluon makes it of the domain's seed.
function M.node_client_prefix6()
	return os.getenv('NODE_CLIENT_PREFIX') or 'fd00:1234:5678:9abc::/64'
end

return M
