-- Shows that this user may run scripts that read, write and delete below the prefix.
-- KEYS: a key of no other use
redis.call('SET', KEYS[1], '', 'PX', 1000)
return redis.call('DEL', KEYS[1])
