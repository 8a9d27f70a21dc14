-- Puts a canary into the log.
-- KEYS: revocations
-- ARGV: canary, how long it is kept, the id of the one whose place it takes ('' for none)
-- Returns its id.
if ARGV[3] ~= '' then redis.call('XDEL', KEYS[1], ARGV[3]) end
local time = redis.call('TIME')
return redis.call('XADD', KEYS[1], '*', 'f', time[1] * 1000 + ARGV[2], 'c', ARGV[1])
