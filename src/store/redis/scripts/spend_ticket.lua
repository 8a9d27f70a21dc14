-- Takes a ticket: of any number of callers one gets it.
-- KEYS: ticket
-- Returns 1, or 0 when there is no such ticket.
return redis.call('DEL', KEYS[1])
