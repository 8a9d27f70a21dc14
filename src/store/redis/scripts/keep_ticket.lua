-- Keeps a ticket for its lifetime, unless its owner has had as many within that time as one may have. The server's clock alone counts.
-- KEYS: ticket, tickets of its owner
-- ARGV: what is sealed, lifetime in milliseconds, how many one may have, name of the ticket
-- Returns 1, or 0 when there are too many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do redis.call('ZREM', KEYS[2], name) end
if redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') >= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
