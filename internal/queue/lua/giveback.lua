-- giveback.lua: put an active task back to the head of its list, unrun.
-- KEYS[1] asynq:{LANE}:active   KEYS[2] asynq:{LANE}:lease  KEYS[3] asynq:{LANE}:t:ID
-- KEYS[4] asynq:{LANE}:pending  KEYS[5] and KEYS[6] the lists of high and low priority
-- ARGV[1] task ID  ARGV[2] its lease as seen, or '' if it had none
-- Returns 1 when it went back; 0 when it is not active any more or its lease has
-- moved: whoever runs it lives, or another was first; 2 when its message is gone from
-- Redis, or it has only a lease and waits elsewhere: what was left is removed.
local lists = {high = KEYS[5], low = KEYS[6]}
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1]) or ''
if tonumber(lease) ~= tonumber(ARGV[2]) then -- as numbers: 1.8e+9 is how some write one
  return 0
end
local task = redis.call('HMGET', KEYS[3], 'msg', 'state', 'priority') -- before any write: it may be no hash
local active = redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1
if not active and lease == '' then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
if not task[1] then
  redis.call('DEL', KEYS[3]) -- or its ID would be taken for ever
  return 2
end
if not active and task[2] ~= 'active' then
  return 2
end
redis.call('HSET', KEYS[3], 'state', 'pending')
redis.call('RPUSH', lists[task[3]] or KEYS[4], ARGV[1])
return 1
