-- What a chain comes to with one call, which has its place in it from here on.
-- KEYS: born, chain, its labels, the agent's destinations, what the caller has read, all chains, those begun by the same
-- ARGV: continues, started (ms), life of the chain (ms), counted, tokens, spend, destination, limit, flow, person, transaction where the chain
--       has a state, how many chains there may be, when the store began as far as who asks knows
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local born = redis.call('GET', KEYS[1])
if not born then
  born = now
  redis.call('SET', KEYS[1], born)
end
-- What gateways told it is gone: nothing is taken before they have told it again.
if tonumber(ARGV[13]) ~= tonumber(born) then return { 'anew' } end
-- Who only asks what somebody knows is no part of the chain.
local ended = ARGV[11] ~= '' and redis.call('HGET', KEYS[2], 'ended')
if ended then return { 'ended', ended } end
-- What such a chain did before is not known here any more.
if ARGV[1] == '1' and tonumber(ARGV[2]) < tonumber(born) then return { 'lost' } end
local life = ARGV[3]
if ARGV[11] ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now)
  if not redis.call('ZSCORE', KEYS[6], ARGV[11]) then
    -- Nobody has begun more chains than there is room for of all others.
    redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now)
    local left = tonumber(ARGV[12]) - redis.call('ZCARD', KEYS[6]) - 1
    if left < 0 then return { 'full' } end
    if redis.call('ZCARD', KEYS[7]) >= math.max(left, 1) then return { 'share' } end
  end
  redis.call('ZADD', KEYS[6], now + life, ARGV[11])
  redis.call('ZADD', KEYS[7], now + life, ARGV[11])
  for place = 6, 7 do
    if redis.call('PTTL', KEYS[place]) < tonumber(life) then redis.call('PEXPIRE', KEYS[place], life) end
  end
end
local calls, tokens, spend, fan_out, placed = 1, 0, 0, 1, 0
if ARGV[4] == '1' then
  local had = redis.call('HMGET', KEYS[2], 'tokens', 'spend', 'tokens_under_way', 'spend_under_way')
  tokens = tonumber(had[1] or 0) + tonumber(had[3] or 0)
  spend = tonumber(had[2] or 0) + tonumber(had[4] or 0)
  calls = redis.call('HINCRBY', KEYS[2], 'calls', 1)
  redis.call('HINCRBY', KEYS[2], 'tokens_under_way', ARGV[5])
  redis.call('HINCRBY', KEYS[2], 'spend_under_way', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], life)
end
if ARGV[7] ~= '' then
  local count = redis.call('HLEN', KEYS[4])
  local known = redis.call('HEXISTS', KEYS[4], ARGV[7]) == 1
  if known or count < tonumber(ARGV[8]) then
    redis.call('HINCRBY', KEYS[4], ARGV[7], 1)
    placed = 1
    fan_out = known and count or count + 1
  else
    fan_out = count + 1
  end
  redis.call('PEXPIRE', KEYS[4], life)
end
local function whole(number) return string.format('%.0f', number) end
local found = { 'ok', whole(calls), whole(tokens), whole(spend), whole(fan_out), whole(placed) }
if ARGV[9] == '1' then
  -- A chain that goes on keeps what it has.
  redis.call('PEXPIRE', KEYS[3], life)
  local had = redis.call('HGETALL', KEYS[3])
  for place = 1, #had, 2 do
    found[#found + 1] = had[place]
    found[#found + 1] = had[place + 1]
  end
  -- label, person → when it is forgotten, and where it came from
  had = redis.call('HGETALL', KEYS[5])
  for place = 1, #had, 2 do
    local bar = string.find(had[place], '\31', 1, true)
    local label, person = string.sub(had[place], 1, bar - 1), string.sub(had[place], bar + 1)
    bar = string.find(had[place + 1], '\31', 1, true)
    local till, from = tonumber(string.sub(had[place + 1], 1, bar - 1)), string.sub(had[place + 1], bar + 1)
    if till <= now then
      redis.call('HDEL', KEYS[5], had[place])
    elseif ARGV[10] == '' or person == '' or person == ARGV[10] then
      found[#found + 1] = label
      found[#found + 1] = from
    end
  end
end
return found
