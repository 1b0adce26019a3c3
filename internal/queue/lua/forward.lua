-- forward.lua: move due tasks into the lists of their priorities, as asynq's own script
-- does into its one.
-- KEYS[1] asynq:{LANE}:scheduled or asynq:{LANE}:retry
-- KEYS[2] asynq:{LANE}:pending  KEYS[3] and KEYS[4] the lists of high and low priority
-- ARGV[1] now (s)  ARGV[2] asynq:{LANE}:t: (the rest of each task's key is its ID)
-- ARGV[3] now (ns)  ARGV[4] asynq:{LANE}:g: (the rest of each group's key is its name)
-- Returns how many were moved into each list, of asynq's groups as of the first.
local lists = {KEYS[2], KEYS[3], KEYS[4]}
local at = {high = 2, low = 3}
local moved = {0, 0, 0}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 100)) do
  local key = ARGV[2] .. id
  local task = redis.call('HMGET', key, 'group', 'priority')
  local k = at[task[2]] or 1
  if task[1] and task[1] ~= '' then
    redis.call('ZADD', ARGV[4] .. task[1], ARGV[1], id)
    redis.call('HSET', key, 'state', 'aggregating')
  else
    redis.call('LPUSH', lists[k], id)
    redis.call('HSET', key, 'state', 'pending', 'pending_since', ARGV[3])
  end
  redis.call('ZREM', KEYS[1], id)
  moved[k] = moved[k] + 1
end
return moved
