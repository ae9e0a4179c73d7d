-- A chain is ended. Who was first stays the one who ended it.
-- KEYS: chain, all that were ended. ARGV: transaction, by, life (ms), who began it, when
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSETNX', KEYS[1], 'ended', ARGV[2])
-- Somebody may know of it for longer.
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local ended = table.concat({ ARGV[1], redis.call('HGET', KEYS[1], 'ended'), ARGV[4], ARGV[5] }, '\31')
redis.call('ZADD', KEYS[2], 'GT', now + ARGV[3], ended)
redis.call('PUBLISH', KEYS[2], ended .. '\31' .. ARGV[3])
return 1
