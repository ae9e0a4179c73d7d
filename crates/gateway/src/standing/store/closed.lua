-- A call was not permitted, or has ended.
-- KEYS: chain, the agent's destinations
-- ARGV: was permitted, counted, tokens estimated, spend estimated, tokens used, spend used, destination
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'tokens_under_way', 0 - tonumber(ARGV[3]))
  redis.call('HINCRBY', KEYS[1], 'spend_under_way', 0 - tonumber(ARGV[4]))
  if ARGV[1] == '1' then
    redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[5])
    redis.call('HINCRBY', KEYS[1], 'spend', ARGV[6])
  else
    redis.call('HINCRBY', KEYS[1], 'calls', -1)
  end
end
if ARGV[1] ~= '1' and ARGV[7] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[7]) == 1 then
  if redis.call('HINCRBY', KEYS[2], ARGV[7], -1) <= 0 then redis.call('HDEL', KEYS[2], ARGV[7]) end
end
return 1
