-- A call was permitted: its destination counts for good, and what it brings is known. After remember.lua.
-- KEYS: chain's labels, the agent's destinations, then what each of some agents has read
-- ARGV: life of the chain (ms), destination, has a chain, how many labels of the chain, each with its origin, then window (ms), person, most,
--       and for each agent how many labels, each with its origin
local PERMITTED = 1099511627776
local at = 2
local function take()
  at = at + 1
  return ARGV[at]
end
if ARGV[2] ~= '' then
  local had = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0)
  -- The place that was taken before the decision may be lost.
  if had < PERMITTED then had = had + PERMITTED end
  local count = math.max(had - 1, PERMITTED)
  redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f', count))
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
local has_chain = take() == '1'
for _ = 1, tonumber(take()) do
  local label, from = take(), take()
  if has_chain then
    redis.call('HSETNX', KEYS[1], label, from)
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local window, person, most = tonumber(take()), take(), tonumber(take())
for place = 3, #KEYS do
  for _ = 1, tonumber(take()) do
    local label, from = take(), take()
    remember(KEYS[place], label, from, person, now, window, most)
  end
end
return 1
