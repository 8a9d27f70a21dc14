-- Removes index entries of sessions whose record is gone. An end in time is the sweep's, and is counted there.
-- KEYS: expiry, fence, then the session and the subject's index of each one to look at
-- ARGV: fence, now, then the expiry member of each
-- Returns how many were removed; -1 when the sweeper was overtaken.
if overtaken(KEYS[2], ARGV[1]) then return -1 end
local now, removed = earliest(ARGV[2]), 0
for i = 3, #ARGV do
  local ends_at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if ends_at and tonumber(ends_at) > now and redis.call('EXISTS', KEYS[2 * i - 3]) == 0 then
    redis.call('ZREM', KEYS[2 * i - 2], string.sub(ARGV[i], 1, 16))
    redis.call('ZREM', KEYS[1], ARGV[i])
    removed = removed + 1
  end
end
return removed
