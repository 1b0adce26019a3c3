-- note.lua: remember an attempt of a task that failed, and that another is to follow.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K  KEYS[3] weir:{NAME}:tries
-- ARGV[1] seq  ARGV[2] offset in the segment  ARGV[3] segment number
-- ARGV[4] the attempt (JSON)  ARGV[5] how many attempts of a task are kept  ARGV[6] of how many tasks
-- Under its seq the hash has a task's attempts, each as "<ms on Redis' clock> <JSON>" and a
-- newline; under '@' how many tasks it ever had; under '@P' the task that has place P of
-- those there are, which goes when another takes it.
-- Returns 1 when noted; 0 when it is the last that was noted, when the task has its outcome,
-- and when there is no such batch.
-- Retry: a second call returns 0. No account is kept here: only KEYS[3] is changed.
local b = redis.call('HMGET', KEYS[1], 'state', 'full:' .. ARGV[3])
if not b[1] or b[2] or redis.call('GETBIT', KEYS[2], ARGV[2]) == 1 then
  return 0
end
local known = redis.call('HGET', KEYS[3], ARGV[1])
local lines = {}
for line in string.gmatch(known or '', '[^\n]+') do
  lines[#lines + 1] = line
end
if known and string.match(lines[#lines], '^%d+ (.*)$') == ARGV[4] then
  return 0
end
if not known then
  local place = '@' .. string.format('%.0f', redis.call('HINCRBY', KEYS[3], '@', 1) % tonumber(ARGV[6]))
  local before = redis.call('HGET', KEYS[3], place)
  if before then
    redis.call('HDEL', KEYS[3], before)
  end
  redis.call('HSET', KEYS[3], place, ARGV[1])
end
local now = redis.call('TIME')
lines[#lines + 1] = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)) .. ' ' .. ARGV[4]
redis.call('HSET', KEYS[3], ARGV[1], table.concat(lines, '\n', math.max(1, #lines - ARGV[5] + 1)) .. '\n')
local left = redis.call('PTTL', KEYS[1])
if left > 0 then -- the batch is over, and its keys go with it
  redis.call('PEXPIRE', KEYS[3], left)
end
return 1
