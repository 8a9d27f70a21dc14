-- Writes what the holder of a lease has found, unless another took the duty over since.
-- KEYS: fences, upkeep, then the row of the day if it is told of it too
-- ARGV: duty, fence, field, value, milliseconds that a row is kept
-- Returns 1 when it was written, 0 when the holder was overtaken.
local latest = redis.call('HGET', KEYS[1], ARGV[1])
if latest and tonumber(latest) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return 1
