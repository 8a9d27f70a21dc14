-- Deletes sessions, whenever they end.
-- KEYS: expiry, then the session and the subject's index of each one
-- ARGV: the expiry member of each: 16 bytes of session id, then the subject
-- Returns how many were deleted.
local ended = 0
for i, member in ipairs(ARGV) do
  ended = ended + redis.call('DEL', KEYS[2 * i])
  redis.call('ZREM', KEYS[2 * i + 1], string.sub(member, 1, 16))
  redis.call('ZREM', KEYS[1], member)
end
return ended
