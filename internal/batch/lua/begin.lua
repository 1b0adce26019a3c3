-- begin.lua: may an attempt of this task run?
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K  KEYS[3] weir:{NAME}:suspects
-- ARGV[1] seq  ARGV[2] offset in the segment  ARGV[3] segment number
-- ARGV[4] '1' if no other task runs in this worker, else ''
-- ARGV[5] how many deaths of its worker make a task run alone
-- Returns {code, options, ms until the batch's deadline or -1}: 0 run it; 1 it has its
-- outcome; 2 the batch is cancelled; 3 the batch is stopped, or was cancelled before this
-- task counted: forget the task; 4 there is no such batch; 5 the deadline has passed;
-- 6 the batch is paused; 7 run it, but alone. One that may run alone is marked as running.
local b = redis.call('HMGET', KEYS[1], 'state', 'n', 'stopped', 'full:' .. ARGV[3], 'opts', 'expired', 'deadline', 'paused', 'suspects')
if not b[1] then
  return {4, '', -1}
end
if b[4] or redis.call('GETBIT', KEYS[2], ARGV[2]) == 1 then
  return {1, '', -1}
end
if b[1] == 'cancelled' then
  if tonumber(ARGV[1]) >= tonumber(b[2]) then
    return {3, '', -1}
  end
  return {b[6] and 5 or 2, b[5], -1}
end
if b[3] then
  return {3, '', -1}
end
local left = -1
if b[7] then
  local now = redis.call('TIME')
  left = b[7] - (now[1] * 1000 + math.floor(now[2] / 1000))
  if left <= 0 then
    return {5, b[5], 0}
  end
end
if b[8] then
  return {6, '', -1}
end
if b[9] then
  local known = redis.call('HGET', KEYS[3], ARGV[1])
  local n, lease = string.match(known or '', '^(%d+) (%S+)')
  if n and tonumber(n) >= tonumber(ARGV[5]) then
    if ARGV[4] == '' then
      return {7, b[5], left}
    end
    redis.call('HSET', KEYS[3], ARGV[1], n .. ' ' .. lease .. ' running')
  end
end
return {0, b[5], left}
