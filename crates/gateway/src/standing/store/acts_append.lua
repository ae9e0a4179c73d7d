-- More acts, all or none, where whoever did them knows all before: what they were checked against is what they follow.
-- KEYS: how far the list is, the list. ARGV: era, the last act that is known, then acts, each with its id
local at = redis.call('HMGET', KEYS[1], 'era', 'head', 'number')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] then return 0 end
local first = tonumber(at[3]) + 1
local number = first - 1
for place = 3, #ARGV, 2 do
  number = number + 1
  redis.call('XADD', KEYS[2], string.format('%.0f-0', number), 'act', ARGV[place])
end
redis.call('HSET', KEYS[1], 'head', ARGV[#ARGV], 'number', string.format('%.0f', number))
redis.call('PUBLISH', KEYS[1], string.format('%.0f', number))
return first
