-- Adds the sessions of imported tokens, each unless it was imported before: it may have ended since, and must not come back.
-- KEYS: expiry, then session, mark and subject of each
-- ARGV, for each: id, created, subject, ends_at, ttl, generation, acknowledged, record, how long the mark is kept
-- Returns how many are new.
local new = 0
for i = 0, (#KEYS - 1) / 3 - 1 do
  local session, mark, subject, at = KEYS[3 * i + 2], KEYS[3 * i + 3], KEYS[3 * i + 4], 9 * i
  if redis.call('SET', mark, '', 'NX', 'PX', ARGV[at + 9]) then
    new = new + 1
    if redis.call('EXISTS', session) == 0 then
      redis.call('HSET', session, 'v', 1, 's', ARGV[at + 3], 'g', ARGV[at + 6], 'a', ARGV[at + 7], 'd', ARGV[at + 8])
      redis.call('PEXPIRE', session, ARGV[at + 5])
      redis.call('ZADD', subject, ARGV[at + 2], ARGV[at + 1])
      redis.call('ZADD', KEYS[1], ARGV[at + 4], ARGV[at + 1] .. ARGV[at + 3])
    end
  end
end
return new
