-- An agent has read something, for one person: until when that is known, and where it first came from. `window` in ms.
local function remember(key, label, from, person, now, window, most)
  local whose = person
  if redis.call('HLEN', key) >= most then whose = '' end
  local field, till = label .. '\31' .. whose, now + window
  local had = redis.call('HGET', key, field)
  if had then
    local bar = string.find(had, '\31', 1, true)
    local had_till = tonumber(string.sub(had, 1, bar - 1))
    -- Where it first came from stays.
    if had_till > now then from = string.sub(had, bar + 1) end
    if had_till > till then till = had_till end
  end
  redis.call('HSET', key, field, string.format('%.0f', till) .. '\31' .. from)
  if redis.call('PTTL', key) < window then redis.call('PEXPIRE', key, window) end
end
