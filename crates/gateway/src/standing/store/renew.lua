-- Places of calls at once stay held; one that is not there is there again.
-- KEYS: for each place, those of its limit. ARGV: for how long (ms), then the name of each place
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for place = 1, #KEYS do
  redis.call('ZADD', KEYS[place], string.format('%.0f', now + ARGV[1]), ARGV[place + 1])
  redis.call('PEXPIRE', KEYS[place], ARGV[1])
end
return #KEYS
