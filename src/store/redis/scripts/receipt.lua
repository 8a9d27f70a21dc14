-- Notes that a node has seen a canary. Begins with a write that needs no memory, as the heartbeat does.
-- KEYS: receipts
-- ARGV: node, how long they are kept
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[1], ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
