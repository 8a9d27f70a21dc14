-- Reads the records of the nodes that were heard of lately.
-- KEYS: nodes
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local records = {}
for _, entry in ipairs(redis.call('HVALS', KEYS[1])) do
  local silent_at, record = string.match(entry, '^(%d+) (.*)$')
  if tonumber(silent_at) > now then records[#records + 1] = record end
end
return records
