-- Of what calls took of limits something was not used, which may be taken again, or more was used, which counts from now on.
-- KEYS: what was taken of each limit (number of the part → how much)
-- ARGV: for each limit: number of the part, by how much it changes, length of a part (ms), count
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for place = 1, #KEYS do
  local at = (place - 1) * 4 + 1
  local number, change, part, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if change > 0 then
    local last = math.floor(now / part)
    for _, one in ipairs(redis.call('HKEYS', KEYS[place])) do last = math.max(last, tonumber(one)) end
    redis.call('HINCRBY', KEYS[place], string.format('%.0f', last), ARGV[at + 1])
    redis.call('PEXPIRE', KEYS[place], string.format('%.0f', part * (count + 1)))
  elseif redis.call('HEXISTS', KEYS[place], number) == 1 then
    local left = redis.call('HINCRBY', KEYS[place], number, ARGV[at + 1])
    if left < 0 then redis.call('HSET', KEYS[place], number, 0) end
  end
end
return 1
