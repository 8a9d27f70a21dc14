-- Notes which sessions imported tokens open. What was noted first stands.
-- KEYS: one for each token
-- ARGV, for each: session, how long the note is kept
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2 * i - 1], 'NX', 'PX', ARGV[2 * i]) end
return 1
