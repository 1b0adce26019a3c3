-- done.lua: asynq's done for many tasks of a lane, those whose lease is this worker's.
-- KEYS[1] asynq:{LANE}:active           KEYS[2] asynq:{LANE}:lease
-- KEYS[3] asynq:{LANE}:processed:DAY    KEYS[4] asynq:{LANE}:processed
-- ARGV[1] the worker's mark: the fraction of the scores that are its own
-- ARGV[2] asynq:{LANE}:t:  ARGV[3] when the day's count is removed (Unix s)
-- ARGV[4] the highest count of all; from the fifth argument on: a task ID each.
-- Returns for each 1 when it is done, 0 when it was not active any more or has no lease,
-- -1 when its lease is another's: of those nothing is changed.
-- Retry: a second call returns 0, so a lost reply is harmless.
local ids = {unpack(ARGV, 5)}
local leases = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local mark = tonumber(ARGV[1])
-- Where there are as many active ones as leases each is in the list once, and those that
-- began first are at its tail. Otherwise the whole list is searched, as asynq does it. (An
-- ID is left that is there twice, beside another without a lease: a ghost, see rescue.)
local which = redis.call('LLEN', KEYS[1]) == redis.call('ZCARD', KEYS[2]) and -1 or 0
local answer, gone, keys = {}, {}, {}
for i, id in ipairs(ids) do
  if not leases[i] then
    answer[i] = 0
  elseif tonumber(leases[i]) % 1 ~= mark then
    answer[i] = -1
  elseif redis.call('LREM', KEYS[1], which, id) == 0 then
    answer[i] = 0
  else
    answer[i] = 1
    gone[#gone + 1] = id
    keys[#keys + 1] = ARGV[2] .. id
  end
end
if #gone == 0 then
  return answer
end
redis.call('ZREM', KEYS[2], unpack(gone))
local n = redis.call('DEL', unpack(keys))
if n == 0 then
  return answer
end
if redis.call('INCRBY', KEYS[3], n) == n then
  redis.call('EXPIREAT', KEYS[3], ARGV[3])
end
local total = redis.call('GET', KEYS[4])
if total and tonumber(total) + n >= tonumber(ARGV[4]) then
  redis.call('SET', KEYS[4], n)
else
  redis.call('INCRBY', KEYS[4], n)
end
return answer
