-- begin.lua: may attempts of these tasks, of one segment, run?
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K  KEYS[3] weir:{NAME}:suspects
-- ARGV[1] segment number  ARGV[2] segment size
-- ARGV[3] the worker's mark if no other task runs in it, else ''
-- ARGV[4] how many deaths of its worker make a task run alone
-- From the fifth argument on: for each task its offset in the segment.
-- Returns {options, ms until the batch's deadline or -1, a code for each task}: 0 run it;
-- 1 it has its outcome; 2 the batch is cancelled; 3 the batch is stopped, or its last
-- task comes before this one: forget the task; 4 there is no such batch; 5 the deadline has
-- passed; 6 the batch is paused; 7 run it, but alone. One that may run alone is marked as running.
local b = redis.call('HMGET', KEYS[1], 'state', 'n', 'stopped', 'full:' .. ARGV[1], 'opts', 'expired', 'deadline', 'paused', 'suspects')
local left = -1
if b[7] then
  local now = redis.call('TIME')
  left = math.max(0, b[7] - (now[1] * 1000 + math.floor(now[2] / 1000)))
end

-- What holds for all of them that have no outcome; 0 if they may run.
local all = 0
if b[1] == 'cancelled' then
  all = b[6] and 5 or 2
elseif b[3] then
  all = 3
elseif left == 0 then
  all = 5
elseif b[8] then
  all = 6
end

local first = ARGV[1] * ARGV[2]

local function suspect(at)
  local seq = string.format('%.0f', first + at)
  local known = redis.call('HGET', KEYS[3], seq)
  local n, lease = string.match(known or '', '^(%d+) (%S+)')
  if not n or tonumber(n) < tonumber(ARGV[4]) then
    return 0
  end
  if ARGV[3] == '' then
    return 7
  end
  redis.call('HSET', KEYS[3], seq, n .. ' ' .. lease .. ' ' .. ARGV[3])
  return 0
end

local function code(at)
  if not b[1] then
    return 4
  elseif b[4] or redis.call('GETBIT', KEYS[2], at) == 1 then
    return 1
  elseif b[2] and first + at >= tonumber(b[2]) then
    return 3
  elseif all == 0 and b[9] then
    return suspect(at)
  end
  return all
end

local answer = {b[5] or '', left}
for i = 5, #ARGV do
  answer[i - 2] = code(ARGV[i])
end
return answer
