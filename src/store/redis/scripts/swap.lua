-- Replaces a record if its version is the expected one.
-- KEYS: session, expiry
-- ARGV: expected version, generation, acknowledged, record, ttl, ends_at, expiry member
-- Returns the new version, 0 when the race was lost, -1 when the record is gone.
local version = redis.call('HGET', KEYS[1], 'v')
if not version then return -1 end
if version ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'g', ARGV[2], 'a', ARGV[3], 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[7])
return redis.call('HINCRBY', KEYS[1], 'v', 1)
