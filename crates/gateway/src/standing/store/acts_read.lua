-- The list of acts that gateways agree on, a part of it.
-- KEYS: how far it is, the list. ARGV: from which number on, how many
local at = redis.call('HMGET', KEYS[1], 'era', 'head', 'number', 'floor')
if not at[1] then return {} end
local found = { at[1], at[2], at[3], at[4] }
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
  found[#found + 1] = entry[1]
  found[#found + 1] = entry[2][2]
end
return found
