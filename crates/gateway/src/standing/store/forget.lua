-- A label is taken away from an agent: of all, or of one person.
-- KEYS: what the agent has read. ARGV: label, of all, person
if ARGV[2] ~= '1' then
  redis.call('HDEL', KEYS[1], ARGV[1] .. '\31' .. ARGV[3])
  return 1
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. '\31' then redis.call('HDEL', KEYS[1], field) end
end
return 1
