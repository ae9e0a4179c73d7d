-- A call was not permitted, or has ended. What is not there any more, or was lost, is not counted below nothing.
-- KEYS: chain, the agent's destinations
-- ARGV: was permitted, counted, tokens estimated, spend estimated, tokens used, spend used, destination
local PERMITTED = 1099511627776
local function less(field, by)
  if redis.call('HINCRBY', KEYS[1], field, 0 - tonumber(by)) < 0 then redis.call('HSET', KEYS[1], field, 0) end
end
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  less('tokens_under_way', ARGV[3])
  less('spend_under_way', ARGV[4])
  if ARGV[1] == '1' then
    redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[5])
    redis.call('HINCRBY', KEYS[1], 'spend', ARGV[6])
  else
    less('calls', 1)
  end
end
if ARGV[1] ~= '1' and ARGV[7] ~= '' then
  local had = tonumber(redis.call('HGET', KEYS[2], ARGV[7]) or PERMITTED)
  if had <= 1 then
    redis.call('HDEL', KEYS[2], ARGV[7])
  elseif had ~= PERMITTED then
    redis.call('HSET', KEYS[2], ARGV[7], string.format('%.0f', had - 1))
  end
end
return 1
