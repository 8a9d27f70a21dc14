-- Removes sessions that have ended, as far as they still have: one that was extended meanwhile stays. Counts them in the same
-- step, so that none is counted twice or never, whoever dies or repeats.
-- KEYS: expiry, fence, expired, then the session and the subject's index of each one to remove
-- ARGV: fence, now, day, the oldest day that is kept, then the expiry member of each: 16 bytes of session id, then the subject
-- Returns how many were removed; -1 when the sweeper was overtaken.
if overtaken(KEYS[2], ARGV[1]) then return -1 end
local now, swept = earliest(ARGV[2]), 0
for i = 5, #ARGV do
  local ends_at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if ends_at and tonumber(ends_at) <= now then
    redis.call('DEL', KEYS[2 * i - 6])
    redis.call('ZREM', KEYS[2 * i - 5], string.sub(ARGV[i], 1, 16))
    redis.call('ZREM', KEYS[1], ARGV[i])
    swept = swept + 1
  end
end
if swept > 0 and redis.call('HINCRBY', KEYS[3], ARGV[3], swept) == swept then
  -- The first of its day makes room.
  for _, day in ipairs(redis.call('HKEYS', KEYS[3])) do
    if tonumber(day) < tonumber(ARGV[4]) then redis.call('HDEL', KEYS[3], day) end
  end
end
return swept
