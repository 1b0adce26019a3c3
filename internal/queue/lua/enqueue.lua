-- enqueue.lua: enqueue a task into the list of its priority, as asynq does into its own.
-- KEYS[1] asynq:{LANE}:t:ID  KEYS[2] the list
-- ARGV[1] its message  ARGV[2] its ID  ARGV[3] now (ns)  ARGV[4] its priority
-- Returns 1, or 0 when there is a task of this ID.
-- Retry: the ID is taken then, by this very task.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'pending', 'pending_since', ARGV[3], 'priority', ARGV[4])
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1
