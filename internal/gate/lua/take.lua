-- take.lua: asynq's dequeue of one list, so many times, but for the time since when a task
-- has waited, which stays in its record: nobody reads it of an active one.
-- KEYS[1] the list                KEYS[2] asynq:{LANE}:paused
-- KEYS[3] asynq:{LANE}:active     KEYS[4] asynq:{LANE}:lease
-- ARGV[1] the end of the lease, with the worker's mark
-- ARGV[2] asynq:{LANE}:t:  ARGV[3] how many  ARGV[4] the size of the largest message, in bytes
-- Returns 1 where the list has more, else 0; then the message of each task taken, in their
-- order, nil for an ID that has none or a larger one. None while the lane is paused.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {0}
end
local list = redis.call('LRANGE', KEYS[1], -ARGV[3] - 1, -1)
if #list == 0 then
  return {0}
end
local more = math.max(0, #list - ARGV[3])
local ids = {}
for i = #list, 1 + more, -1 do -- the next one is at the tail
  ids[#ids + 1] = list[i]
end
redis.call('LPUSH', KEYS[3], unpack(ids))
redis.call('LTRIM', KEYS[1], 0, -1 - #ids)

local answer, leases = {more}, {}
for i, id in ipairs(ids) do
  local key = ARGV[2] .. id
  answer[1 + i] = false
  -- What is no hash must not keep the others from being handed out: it stays active
  -- without a lease, as asynq leaves it.
  if type(redis.pcall('HSET', key, 'state', 'active')) == 'number' then
    leases[#leases + 1] = ARGV[1]
    leases[#leases + 1] = id
    if redis.call('HSTRLEN', key, 'msg') <= tonumber(ARGV[4]) then
      answer[1 + i] = redis.call('HGET', key, 'msg')
    end
  end
end
if #leases > 0 then
  redis.call('ZADD', KEYS[4], unpack(leases))
end
return answer
