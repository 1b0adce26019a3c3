-- later.lua: enqueue a task that becomes due later, as asynq does, with its priority.
-- KEYS[1] asynq:{LANE}:t:ID  KEYS[2] asynq:{LANE}:scheduled
-- ARGV[1] its message  ARGV[2] when it is due (s)  ARGV[3] its ID
-- ARGV[4] its priority, or nothing for the normal one
-- Returns 1, or 0 when there is a task of this ID.
-- Retry: the ID is taken then, by this very task.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'scheduled')
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'priority', ARGV[4])
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return 1
