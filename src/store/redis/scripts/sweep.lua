-- Removes sessions that have ended, as far as they still have: one that was extended meanwhile stays.
-- KEYS: expiry, then the session and the subject's index of each one to remove
-- ARGV: now, then the expiry member of each: 16 bytes of session id, then the subject
-- Returns how many were removed.
local swept = 0
for i = 2, #ARGV do
  local ends_at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if ends_at and tonumber(ends_at) <= tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[2 * i - 2])
    redis.call('ZREM', KEYS[2 * i - 1], string.sub(ARGV[i], 1, 16))
    redis.call('ZREM', KEYS[1], ARGV[i])
    swept = swept + 1
  end
end
return swept
