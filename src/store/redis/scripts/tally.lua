-- Counts the revocations of one page of the log. Marks of nodes lie there too, and are none.
-- KEYS: revocations
-- ARGV: where the page begins, entries of a page
-- Returns {revocations, id of the last entry looked at} or, at the end of the log, {revocations}.
local revocations, last = 0, nil
local page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
for _, entry in ipairs(page) do
  last = entry[1]
  if entry[2][3] == 'r' then revocations = revocations + 1 end
end
if #page < tonumber(ARGV[2]) then return {revocations} end
return {revocations, last}
