-- Acts that nobody needs any more are taken out of the list.
-- KEYS: how far the list is, the list. ARGV: era, below which number all were looked at, then the numbers of acts
if redis.call('HGET', KEYS[1], 'era') ~= ARGV[1] then return 0 end
for place = 3, #ARGV do redis.call('XDEL', KEYS[2], ARGV[place] .. '-0') end
if tonumber(redis.call('HGET', KEYS[1], 'floor')) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'floor', ARGV[2])
end
return 1
