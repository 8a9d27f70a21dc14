-- Makes a node known, and forgets those that were silent for too long. The server's clock alone counts.
-- KEYS: nodes
-- ARGV: node, record, how long it may be silent
-- Returns how many are known.
--
-- It begins with a deletion: a script that has begun to write is let to finish when memory is full, and a node that serves must
-- be known then too.
redis.call('HDEL', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  if tonumber(string.match(known[i + 1], '^%d+')) <= now then redis.call('HDEL', KEYS[1], known[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + ARGV[3], ARGV[2]))
return redis.call('HLEN', KEYS[1])
