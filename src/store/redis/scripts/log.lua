-- Stands before every script that logs a revocation.
--
-- Forgotten entries at the head of the log go first. That keeps the log short between sweeps, and it is a write that needs no
-- memory: a script that has begun to write is let to finish when memory is full, so that a logout works then too.
-- An entry is forgotten when both the caller's clock and the server's say so: one clock that runs ahead revives nothing.
local function log_revocation(log, now, forget_at, revocation)
  local time = redis.call('TIME')
  now = math.min(tonumber(now), tonumber(time[1]) * 1000)
  local keep_from = '0'
  for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', 16)) do
    keep_from = entry[1]
    if tonumber(entry[2][2]) > now then break end
  end
  redis.call('XTRIM', log, 'MINID', keep_from)
  redis.call('XADD', log, '*', 'f', forget_at, 'r', revocation)
end
