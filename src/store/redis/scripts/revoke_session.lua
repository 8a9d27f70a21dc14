-- Logs the end of a session and deletes its record, if there is one.
-- KEYS: session, expiry, revocations, and the subject's index where the session was found
-- ARGV: id, subject ('' when the session was not found), now, forget_at, revocation
-- Returns how many were deleted, or -1 when the session is not as it was found.
local subject = redis.call('HGET', KEYS[1], 's')
if (subject or '') ~= ARGV[2] then return -1 end
log_revocation(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if not subject then return 0 end
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1] .. subject)
return redis.call('DEL', KEYS[1])
