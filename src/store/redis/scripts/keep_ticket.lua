-- Keeps a ticket for its lifetime, unless its owner, or all sessions of its subject together, have had as many within that time as may be.
-- The server's clock alone counts.
-- KEYS: ticket, tickets of its owner, tickets of its subject
-- ARGV: what is sealed, lifetime in milliseconds, name of the ticket, how many the owner may have, how many the subject may have
-- Returns 1, or 0 when there are too many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for holder = 2, 3 do
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[holder], '-inf', now)) do redis.call('ZREM', KEYS[holder], name) end
  if redis.call('ZCOUNT', KEYS[holder], '-inf', '+inf') >= tonumber(ARGV[holder + 2]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for holder = 2, 3 do
  redis.call('ZADD', KEYS[holder], now + ARGV[2], ARGV[3])
  if redis.call('PTTL', KEYS[holder]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[holder], ARGV[2]) end
end
return 1
