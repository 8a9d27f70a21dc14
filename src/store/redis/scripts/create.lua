-- Adds a session and ends the subject's oldest ones beyond the limit.
-- KEYS: session, subject, expiry, revocations, then the session key of each one to end
-- ARGV: id, created, subject, ends_at, ttl, generation, acknowledged, record,
--       limit ('' for none), now, forget_at, then id and revocation of each one to end
-- Returns {1, id...} with those that were ended when done, {0, id...} with those that must be named to be ended.
if redis.call('EXISTS', KEYS[1]) == 1 then return {1} end

local ending = {}
if ARGV[9] ~= '' then
  local live = {}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local ends_at = redis.call('ZSCORE', KEYS[3], id .. ARGV[3])
    if ends_at and tonumber(ends_at) > tonumber(ARGV[10]) then live[#live + 1] = id end
  end
  for i = 1, math.min(#live + 1 - tonumber(ARGV[9]), #live, 1000) do ending[i] = live[i] end
end

local named = #KEYS - 4 == #ending
for i, id in ipairs(ending) do named = named and id == ARGV[10 + 2 * i] end
table.insert(ending, 1, named and 1 or 0)
if not named then return ending end

for i = 1, #ending - 1 do
  local id = ending[1 + i]
  redis.call('DEL', KEYS[4 + i])
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id .. ARGV[3])
  log_revocation(KEYS[4], ARGV[10], ARGV[11], ARGV[11 + 2 * i])
end
redis.call('HSET', KEYS[1], 'v', 1, 's', ARGV[3], 'g', ARGV[6], 'a', ARGV[7], 'd', ARGV[8])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1] .. ARGV[3])
return ending
