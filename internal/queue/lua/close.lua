-- close.lua: remove an active task that has become of what it could.
-- KEYS[1] asynq:{LANE}:active  KEYS[2] asynq:{LANE}:lease  KEYS[3] asynq:{LANE}:t:ID
-- ARGV[1] task ID  ARGV[2] its lease as seen, or '' if it had none
-- Returns 1 when it is removed, 0 when its lease has moved or it is not active.
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1]) or ''
if tonumber(lease) ~= tonumber(ARGV[2]) then
  return 0
end
if redis.call('LREM', KEYS[1], 1, ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('DEL', KEYS[3])
return 1
