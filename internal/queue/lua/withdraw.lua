-- withdraw.lua: take tasks that nobody runs out of a queue.
-- KEYS[1] asynq:{LANE}:scheduled  KEYS[2] asynq:{LANE}:retry
-- KEYS[3] asynq:{LANE}:pending    KEYS[4] and KEYS[5] the lists of high and low priority
-- KEYS[6] weir:{LANE}:fence:NAME
-- ARGV[1] asynq:{LANE}:t: (the rest of each task's key is its ID)
-- ARGV[2] what KEYS[6] held when the tasks were looked for, '' for nothing  ARGV[3...] task IDs
-- Returns how many were taken out; active ones and unknown ones are left alone, but an
-- ID whose task is gone from Redis goes too. None where the fence is another by now: the
-- batch is gone on with, and what waits is enqueued anew.
if (redis.call('GET', KEYS[6]) or '') ~= ARGV[2] then
  return 0
end
local lists = {high = KEYS[4], low = KEYS[5]}
local n = 0
for i = 3, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  local task = redis.call('HMGET', key, 'state', 'priority')
  local state = task[1]
  local gone = 0
  if state == 'pending' or not state then
    gone = redis.call('LREM', lists[task[2]] or KEYS[3], -1, ARGV[i])
    for k = 3, 5 do -- where another asynq client may have put it
      if gone == 0 then
        gone = redis.call('LREM', KEYS[k], -1, ARGV[i])
      end
    end
  end
  if state == 'scheduled' or not state then
    gone = gone + redis.call('ZREM', KEYS[1], ARGV[i])
  end
  if state == 'retry' or not state then
    gone = gone + redis.call('ZREM', KEYS[2], ARGV[i])
  end
  if gone > 0 then
    redis.call('DEL', key)
    n = n + 1
  end
end
return n
