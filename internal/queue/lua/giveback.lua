-- giveback.lua: put an active task back to the head of its queue, unrun.
-- KEYS[1] asynq:{LANE}:active  KEYS[2] asynq:{LANE}:lease
-- KEYS[3] asynq:{LANE}:pending KEYS[4] asynq:{LANE}:t:ID
-- ARGV[1] task ID  ARGV[2] its lease as seen, or '' if it had none
-- Returns 1 when it went back; 0 when it is not active any more or its lease has
-- moved: whoever runs it lives, or another was first.
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1]) or ''
if lease ~= ARGV[2] then
  return 0
end
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[4], 'state', 'pending')
redis.call('RPUSH', KEYS[3], ARGV[1])
return 1
