-- Raises what is known of a node's totals of one day, and the day's row by as much. What was told before changes nothing.
-- KEYS: totals of the node, row
-- ARGV: milliseconds that totals are kept, and rows; then the name and the total of each counter
for i = 3, #ARGV, 2 do
  local known = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  local risen = tonumber(ARGV[i + 1]) - known
  if risen > 0 then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    redis.call('HINCRBY', KEYS[2], ARGV[i], string.format('%.0f', risen))
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 0
