-- Logs the end of one token; it has no record.
-- KEYS: revocations
-- ARGV: now, forget_at, revocation
log_revocation(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return 0
