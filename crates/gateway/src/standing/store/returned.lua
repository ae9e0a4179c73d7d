-- What an agent knows that is called comes back to who called it, as far as that does not have it already: what is there is kept no longer by it.
-- KEYS: born, chain's labels, what the agent has read that is called, then what each of its callers has read, who called it first
-- ARGV: life of the chain (ms), window (ms), person, most labels, when the store began as far as who asks knows
-- What gateways told it is gone: nothing has come back before they have told it again.
if tonumber(ARGV[5]) ~= tonumber(redis.call('GET', KEYS[1]) or '') then
  return redis.error_reply('ERR it has lost what it had')
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local life, window, person, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
-- label → where it came from, of what an agent has read for this person
local function known(key)
  local labels, had = {}, redis.call('HGETALL', key)
  for place = 1, #had, 2 do
    local bar = string.find(had[place], '\31', 1, true)
    local label, whose = string.sub(had[place], 1, bar - 1), string.sub(had[place], bar + 1)
    bar = string.find(had[place + 1], '\31', 1, true)
    local till, from = tonumber(string.sub(had[place + 1], 1, bar - 1)), string.sub(had[place + 1], bar + 1)
    if till > now and (person == '' or whose == '' or whose == person) then labels[label] = from end
  end
  return labels
end
local brings, had = known(KEYS[3]), known(KEYS[4])
for label, from in pairs(brings) do
  if not had[label] and redis.call('HEXISTS', KEYS[2], label) == 0 then
    redis.call('HSET', KEYS[2], label, from)
    redis.call('PEXPIRE', KEYS[2], life)
    for place = 4, #KEYS do
      local whose = person
      if redis.call('HLEN', KEYS[place]) >= most then whose = '' end
      local field, till, origin = label .. '\31' .. whose, now + window, from
      local before = redis.call('HGET', KEYS[place], field)
      if before then
        local bar = string.find(before, '\31', 1, true)
        local had_till = tonumber(string.sub(before, 1, bar - 1))
        -- Where it first came from stays.
        if had_till > now then origin = string.sub(before, bar + 1) end
        if had_till > till then till = had_till end
      end
      redis.call('HSET', KEYS[place], field, string.format('%.0f', till) .. '\31' .. origin)
      if redis.call('PTTL', KEYS[place]) < window then redis.call('PEXPIRE', KEYS[place], window) end
    end
  end
end
return 1
