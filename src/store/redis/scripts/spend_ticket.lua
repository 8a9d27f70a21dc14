-- Takes a ticket: of any number of callers one gets it.
-- KEYS: ticket
-- Returns what is sealed, or nothing when there is no such ticket.
local sealed = redis.call('GET', KEYS[1])
if sealed then redis.call('DEL', KEYS[1]) end
return sealed
