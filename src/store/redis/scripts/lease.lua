-- Takes a lease, or prolongs it for who has it. The server's clock decides when it runs out.
-- KEYS: lease, fences
-- ARGV: duty, holder, span in milliseconds
-- Returns {1, fence} when it is the holder's, {0, milliseconds left} when it is another's.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return {0, redis.call('PTTL', KEYS[1])} end
local fence = redis.call('HGET', KEYS[2], ARGV[1])
if not (holder and fence) then
  -- By the clock, so that a fence is higher than all that were lost with the key as well.
  local time = redis.call('TIME')
  local by_clock = time[1] * 1000 + math.floor(time[2] / 1000)
  fence = string.format('%.0f', math.max(tonumber(fence or 0) + 1, by_clock))
  redis.call('HSET', KEYS[2], ARGV[1], fence)
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {1, tonumber(fence)}
