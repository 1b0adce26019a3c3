-- quarantine.lua: set aside what nobody can run, and remove it from its queue.
-- KEYS[1] asynq:{LANE}:active     KEYS[2] asynq:{LANE}:lease  KEYS[3] asynq:{LANE}:scheduled
-- KEYS[4] asynq:{LANE}:retry      KEYS[5] asynq:{LANE}:t:ID   KEYS[6] weir:{LANE}:quarantine
-- ARGV[1] task ID  ARGV[2] what was there (JSON)  ARGV[3] how many are kept
-- Returns 1, or 0 when it was in none of these places: another was first.
local n = redis.call('LREM', KEYS[1], 0, ARGV[1]) + redis.call('ZREM', KEYS[2], ARGV[1]) +
  redis.call('ZREM', KEYS[3], ARGV[1]) + redis.call('ZREM', KEYS[4], ARGV[1])
if n == 0 then
  return 0
end
redis.call('DEL', KEYS[5])
redis.call('LPUSH', KEYS[6], ARGV[2])
redis.call('LTRIM', KEYS[6], 0, ARGV[3] - 1)
return 1
