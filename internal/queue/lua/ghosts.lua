-- ghosts.lua: remove what is left of tasks that nobody would run.
-- KEYS[1] asynq:{LANE}:active   KEYS[2] asynq:{LANE}:scheduled
-- KEYS[3] asynq:{LANE}:retry    KEYS[4] asynq:{LANE}:archived
-- KEYS[5] asynq:{LANE}:pending  KEYS[6] and KEYS[7] the lists of high and low priority
-- ARGV[1] asynq:{LANE}:t: (the rest of each task's key is its ID)  ARGV[2...] task IDs
-- Returns how many were removed: tasks with a record, but in none of these, the archive
-- apart.
local n = 0
for i = 2, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if redis.call('EXISTS', key) == 1 and
      not redis.call('ZSCORE', KEYS[2], ARGV[i]) and not redis.call('ZSCORE', KEYS[3], ARGV[i]) and
      not redis.call('LPOS', KEYS[1], ARGV[i]) and not redis.call('LPOS', KEYS[5], ARGV[i]) and
      not redis.call('LPOS', KEYS[6], ARGV[i]) and not redis.call('LPOS', KEYS[7], ARGV[i]) then
    redis.call('ZREM', KEYS[4], ARGV[i])
    redis.call('DEL', key)
    n = n + 1
  end
end
return n
