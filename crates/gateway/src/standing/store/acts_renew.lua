-- The list begins anew, unless somebody else had it begin anew since it was looked at.
-- KEYS: how far it is, the list. ARGV: era and last act as they were (empty where there was none), the new era, then acts, each with its id
local at = redis.call('HMGET', KEYS[1], 'era', 'head')
if (at[1] or '') ~= ARGV[1] or (at[2] or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
local number, head = 0, ''
for place = 4, #ARGV, 2 do
  number, head = number + 1, ARGV[place + 1]
  redis.call('XADD', KEYS[2], string.format('%.0f-0', number), 'act', ARGV[place])
end
redis.call('HSET', KEYS[1], 'era', ARGV[3], 'head', head, 'number', string.format('%.0f', number), 'floor', '0')
redis.call('PUBLISH', KEYS[1], string.format('%.0f', number))
return 1
