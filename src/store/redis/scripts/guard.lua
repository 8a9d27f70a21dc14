-- Stands before every script of a sweep.
--
-- The holder of a lease writes under its number. Once a higher one was seen in a partition, a sweeper that was overtaken, and does
-- not know it yet, changes nothing there any more.
local function overtaken(key, fence)
  local seen = redis.call('GET', key)
  if seen and tonumber(seen) > tonumber(fence) then return true end
  if seen ~= fence then redis.call('SET', key, fence) end
  return false
end

-- What has ended has ended by both clocks, the caller's and the server's: one that runs ahead removes nothing that lives.
local function earliest(now)
  local time = redis.call('TIME')
  return math.min(tonumber(now), time[1] * 1000 + math.floor(time[2] / 1000))
end
