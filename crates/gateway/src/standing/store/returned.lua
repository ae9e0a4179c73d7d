-- What an agent knows that is called comes back to who called it, as far as that does not have it already: what is there is kept no longer by
-- it. After remember.lua. Gives all that the agent knows, each label with where it came from, also where it was there; 'lost' where the store
-- has lost what it had.
-- KEYS: born, chain's labels, what the agent has read that is called, then what each of its callers has read, who called it first
-- ARGV: life of the chain (ms), window (ms), person, most labels, when the store began as far as who asks knows
-- What gateways told it is gone: nothing has come back before they have told it again.
if tonumber(ARGV[5]) ~= tonumber(redis.call('GET', KEYS[1]) or '') then
  return { 'lost' }
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
local brings, had, found = known(KEYS[3]), known(KEYS[4]), { 'ok' }
for label, from in pairs(brings) do
  found[#found + 1] = label
  found[#found + 1] = from
  if not had[label] and redis.call('HEXISTS', KEYS[2], label) == 0 then
    redis.call('HSET', KEYS[2], label, from)
    redis.call('PEXPIRE', KEYS[2], life)
    for place = 4, #KEYS do
      remember(KEYS[place], label, from, person, now, window, most)
    end
  end
end
return found
