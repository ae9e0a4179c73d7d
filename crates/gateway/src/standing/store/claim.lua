-- What a call takes of some limits: of all of them, or where it does not fit into one, of none. Time is divided into parts, of which the last
-- `count` count (standing/limits/counter.rs). Of calls at once a part has no length (0): each has a place by a name, until it is not renewed (leases.rs).
-- KEYS: born, then for each limit what was taken of it (number of the part → how much; of calls at once: name of the place → until when)
-- ARGV: when the store began as far as who asks knows, how long a place is held (ms), then for each limit: amount, how much is wanted, length of a part
--       (ms), count or the name of the place
-- Gives 'taken' or 'full', and for each limit: what is left with it, the number of the part, after how many ms it fits (-1: not known)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- What gateways told it is gone, and so is what was taken: nothing is before they have connected anew.
if tonumber(ARGV[1]) ~= tonumber(redis.call('GET', KEYS[1]) or '') then return { 'anew' } end
local function whole(number) return string.format('%.0f', number) end
local fits, found, newest = true, {}, {}
for place = 2, #KEYS do
  local at = (place - 2) * 4 + 3
  local amount, want, part, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local numbers, taken, last, used = {}, {}, 0, 0
  if part == 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now)
    used = redis.call('ZCARD', KEYS[place])
  else
    local had = redis.call('HGETALL', KEYS[place])
    last = math.floor(now / part)
    for one = 1, #had, 2 do
      local number = tonumber(had[one])
      numbers[#numbers + 1], taken[number] = number, tonumber(had[one + 1])
      -- A clock that was set back gives nothing back.
      if number > last then last = number end
    end
    table.sort(numbers)
    for _, number in ipairs(numbers) do
      if number > last - count then
        used = used + taken[number]
      else
        redis.call('HDEL', KEYS[place], whole(number))
        taken[number] = nil
      end
    end
  end
  local left, again = amount - used - want, -1
  if left < 0 then
    fits = false
    if want <= amount then
      for _, number in ipairs(numbers) do
        used = used - (taken[number] or 0)
        if taken[number] and used + want <= amount then
          again = math.max((number + count) * part - now, 0)
          break
        end
      end
    end
  end
  newest[place] = last
  found[#found + 1] = whole(left)
  found[#found + 1] = whole(last)
  found[#found + 1] = whole(again)
end
if fits then
  for place = 2, #KEYS do
    local at = (place - 2) * 4 + 3
    local part = tonumber(ARGV[at + 2])
    if part == 0 then
      redis.call('ZADD', KEYS[place], whole(now + ARGV[2]), ARGV[at + 3])
      redis.call('PEXPIRE', KEYS[place], ARGV[2])
    else
      redis.call('HINCRBY', KEYS[place], whole(newest[place]), ARGV[at + 1])
      redis.call('PEXPIRE', KEYS[place], whole(part * (tonumber(ARGV[at + 3]) + 1)))
    end
  end
end
table.insert(found, 1, fits and 'taken' or 'full')
return found
