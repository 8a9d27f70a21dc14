-- Marks the data of a partition, so that it can be told from what is there after the store was emptied.
-- KEYS: epoch
-- Returns the mark, which is the moment when it was made.
local mark = redis.call('GET', KEYS[1])
if mark then return mark end
local time = redis.call('TIME')
mark = time[1] .. '.' .. time[2]
redis.call('SET', KEYS[1], mark)
return mark
