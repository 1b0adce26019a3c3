-- withdraw.lua: take tasks that nobody runs out of a queue.
-- KEYS[1] asynq:{LANE}:pending  KEYS[2] asynq:{LANE}:scheduled  KEYS[3] asynq:{LANE}:retry
-- ARGV[1] asynq:{LANE}:t: (the rest of each task's key is its ID)  ARGV[2...] task IDs
-- Returns how many were taken out; active ones and unknown ones are left alone, but an
-- ID whose task is gone from Redis goes too.
local n = 0
for i = 2, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  local state = redis.call('HGET', key, 'state')
  local gone = 0
  if state == 'pending' or not state then
    gone = redis.call('LREM', KEYS[1], -1, ARGV[i])
  end
  if state == 'scheduled' or not state then
    gone = gone + redis.call('ZREM', KEYS[2], ARGV[i])
  end
  if state == 'retry' or not state then
    gone = gone + redis.call('ZREM', KEYS[3], ARGV[i])
  end
  if gone > 0 then
    redis.call('DEL', key)
    n = n + 1
  end
end
return n
