-- Whether an agent has read a label: for anybody, or for one person.
-- KEYS: what the agent has read. ARGV: label, for anybody, person
if ARGV[2] ~= '1' then return redis.call('HEXISTS', KEYS[1], ARGV[1] .. '\31' .. ARGV[3]) end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. '\31' then return 1 end
end
return 0
