-- Places of calls at once are given back.
-- KEYS: for each place, those of its limit. ARGV: unused, then the name of each place
for place = 1, #KEYS do redis.call('ZREM', KEYS[place], ARGV[place + 1]) end
return #KEYS
