-- Logs the end of a subject's sessions created before a moment and deletes their records, oldest first.
-- KEYS: subject, expiry, revocations, then the session key of each one to end
-- ARGV: subject, issued_before, now, forget_at, revocation ('' when it was logged by an earlier step), most to end in one step,
--       then the id of each one to end
-- Returns {1, id...} with those that were deleted when done, {2, id...} when there are more,
-- {0, id...} with those that must be named to be ended.
local most = tonumber(ARGV[6])
local ending = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2], 'LIMIT', 0, most)
local named = #KEYS - 3 == #ending
for i, id in ipairs(ending) do named = named and id == ARGV[6 + i] end
if not named then
  table.insert(ending, 1, 0)
  return ending
end

if ARGV[5] ~= '' then log_revocation(KEYS[3], ARGV[3], ARGV[4], ARGV[5]) end
local reply = {#ending == most and 2 or 1}
for i, id in ipairs(ending) do
  if redis.call('DEL', KEYS[3 + i]) == 1 then reply[#reply + 1] = id end
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id .. ARGV[1])
end
return reply
