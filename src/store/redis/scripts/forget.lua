-- Removes log entries that may be forgotten, of one page of the log.
-- KEYS: revocations, fence
-- ARGV: fence, now, where the page begins, entries of a page
-- Returns {removed, id of the last entry looked at} or, at the end of the log, {removed}; {-1} when the sweeper was overtaken.
if overtaken(KEYS[2], ARGV[1]) then return {-1} end
local now, removed, last = earliest(ARGV[2]), 0, nil
local page = redis.call('XRANGE', KEYS[1], ARGV[3], '+', 'COUNT', ARGV[4])
for _, entry in ipairs(page) do
  last = entry[1]
  if tonumber(entry[2][2]) <= now then
    local gone = redis.call('XDEL', KEYS[1], last)
    -- Marks of nodes go uncounted.
    if entry[2][3] == 'r' then removed = removed + gone end
  end
end
if #page < tonumber(ARGV[4]) then return {removed} end
return {removed, last}
