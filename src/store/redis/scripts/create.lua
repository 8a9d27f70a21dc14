-- Adds a session and ends the subject's oldest ones beyond the limit.
-- KEYS: session, subject, expiry, revocations, then the session key of each one that may be ended
-- ARGV: id, created, subject, ends_at, ttl, generation, acknowledged, record,
--       limit ('' for none), now, forget_at, then id and revocation of each one that may be ended
-- Returns {1, id...} with those that were ended when done, {0, id...} with those that must be named because they may have to be
-- ended: some more than it is now, for other logins may come in between.
if redis.call('EXISTS', KEYS[1]) == 1 then return {1} end

local live, over = {}, 0
if ARGV[9] ~= '' then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local ends_at = redis.call('ZSCORE', KEYS[3], id .. ARGV[3])
    if ends_at and tonumber(ends_at) > tonumber(ARGV[10]) then live[#live + 1] = id end
  end
  over = math.min(#live + 1 - tonumber(ARGV[9]), #live, 1000)
end

local named = {}
for i = 1, #KEYS - 4 do named[ARGV[10 + 2 * i]] = i end
for i = 1, over do
  if not named[live[i]] then
    local missing = {0}
    for j = 1, math.min(over + 16, #live) do missing[1 + j] = live[j] end
    return missing
  end
end

local reply = {1}
for i = 1, over do
  local id = live[i]
  redis.call('DEL', KEYS[4 + named[id]])
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id .. ARGV[3])
  log_revocation(KEYS[4], ARGV[10], ARGV[11], ARGV[11 + 2 * named[id]])
  reply[1 + i] = id
end
redis.call('HSET', KEYS[1], 'v', 1, 's', ARGV[3], 'g', ARGV[6], 'a', ARGV[7], 'd', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1] .. ARGV[3])
return reply
