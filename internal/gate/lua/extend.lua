-- extend.lua: extend the leases of a worker's tasks, where they still are its own.
-- KEYS[1] asynq:{LANE}:lease
-- ARGV[1] the worker's mark: the fraction of the scores that are its own
-- ARGV[2] the new end, with the mark  ARGV[3...] task IDs
-- Returns for each ID 1 when it is extended, 0 when it has no lease any more, -1 when the
-- lease is another's.
local reply = {}
for i = 3, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not score then
    reply[i - 2] = 0
  elseif tonumber(score) % 1 == tonumber(ARGV[1]) then
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[i])
    reply[i - 2] = 1
  else
    reply[i - 2] = -1
  end
end
return reply
