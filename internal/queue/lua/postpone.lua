-- postpone.lua: put an active task, unrun, among those that run later.
-- KEYS[1] asynq:{LANE}:active  KEYS[2] asynq:{LANE}:lease
-- KEYS[3] asynq:{LANE}:retry   KEYS[4] asynq:{LANE}:t:ID
-- ARGV[1] task ID  ARGV[2] when it runs (Unix seconds)
-- Returns 1 when it is there now, 0 when it was not active any more.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'retry')
return 1
