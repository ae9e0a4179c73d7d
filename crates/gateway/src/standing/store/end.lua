-- A chain is ended. Who was first stays the one who ended it.
-- KEYS: chain, all that were ended. ARGV: transaction, by, life (ms)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSETNX', KEYS[1], 'ended', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], 'GT', now + ARGV[3], ARGV[1] .. '\31' .. redis.call('HGET', KEYS[1], 'ended'))
redis.call('PUBLISH', KEYS[2], ARGV[1] .. '\31' .. redis.call('HGET', KEYS[1], 'ended') .. '\31' .. ARGV[3])
return 1
