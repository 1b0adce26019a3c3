-- giveback.lua: put an active task back to the head of its queue, unrun.
-- KEYS[1] asynq:{LANE}:active  KEYS[2] asynq:{LANE}:lease
-- KEYS[3] asynq:{LANE}:pending KEYS[4] asynq:{LANE}:t:ID
-- ARGV[1] task ID  ARGV[2] its lease as seen, or '' if it had none
-- Returns 1 when it went back; 0 when it is not active any more or its lease has
-- moved: whoever runs it lives, or another was first; 0 too when its message is gone
-- from Redis: then nobody can run it, and what is left of it is removed.
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1]) or ''
if tonumber(lease) ~= tonumber(ARGV[2]) then -- as numbers: 1.8e+9 is how some write one
  return 0
end
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[4], 'msg') == 0 then
  redis.call('DEL', KEYS[4]) -- or its ID would be taken for ever
  return 0
end
redis.call('HSET', KEYS[4], 'state', 'pending')
redis.call('RPUSH', KEYS[3], ARGV[1])
return 1
