-- Marks the current generation of each session as seen.
-- KEYS: sessions
-- ARGV: the generation seen of each
for i, key in ipairs(KEYS) do
  local record = redis.call('HMGET', key, 'g', 'a')
  if record[1] == ARGV[i] and record[2] == '0' then
    redis.call('HSET', key, 'a', 1)
    redis.call('HINCRBY', key, 'v', 1)
  end
end
return 0
