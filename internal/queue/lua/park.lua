-- park.lua: set tasks aside, or bring them back.
-- KEYS[1] asynq:{LANE}:scheduled  KEYS[2] asynq:{LANE}:retry
-- KEYS[3] asynq:{LANE}:pending    KEYS[4] and KEYS[5] the lists of high and low priority
-- ARGV[1] 'park' or 'unpark'  ARGV[2] asynq:{LANE}:t: (the rest of each task's key is its ID)
-- ARGV[3] seconds by which a parked task's time lies later  ARGV[4...] task IDs
-- Returns how many were moved. A pending task waits among the scheduled ones, its time
-- being those seconds alone; any other stays where it is, with a later time.
-- Retry: what is where it should be stays there.
local lists = {high = KEYS[4], low = KEYS[5]}
local n, later = 0, tonumber(ARGV[3])
for i = 4, #ARGV do
  local key = ARGV[2] .. ARGV[i]
  local list = lists[redis.call('HGET', key, 'priority')] or KEYS[3]
  if ARGV[1] == 'park' and redis.call('LREM', list, -1, ARGV[i]) > 0 then
    redis.call('ZADD', KEYS[1], later, ARGV[i])
    redis.call('HSET', key, 'state', 'scheduled')
    n = n + 1
  else
    for k = 1, 2 do
      local at = redis.call('ZSCORE', KEYS[k], ARGV[i])
      local parked = at and tonumber(at) >= later
      if at and ARGV[1] == 'park' and not parked then
        redis.call('ZADD', KEYS[k], string.format('%.0f', at + later), ARGV[i])
        n = n + 1
      elseif parked and ARGV[1] == 'unpark' then
        if tonumber(at) == later then
          redis.call('ZREM', KEYS[k], ARGV[i])
          redis.call('LPUSH', list, ARGV[i])
          redis.call('HSET', key, 'state', 'pending')
        else
          redis.call('ZADD', KEYS[k], string.format('%.0f', at - later), ARGV[i])
        end
        n = n + 1
      end
    end
  end
end
return n
