-- begin.lua: may an attempt of this task run?
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K
-- ARGV[1] seq  ARGV[2] offset in the segment  ARGV[3] segment number
-- Returns {code, options}: 0 run it; 1 it has its outcome; 2 the batch is cancelled;
-- 3 the batch is stopped, or was cancelled before this task counted: forget the task;
-- 4 there is no such batch.
local b = redis.call('HMGET', KEYS[1], 'state', 'n', 'stopped', 'full:' .. ARGV[3], 'opts')
if not b[1] then
  return {4, ''}
end
if b[4] or redis.call('GETBIT', KEYS[2], ARGV[2]) == 1 then
  return {1, ''}
end
if b[1] == 'cancelled' then
  if tonumber(ARGV[1]) >= tonumber(b[2]) then
    return {3, ''}
  end
  return {2, b[5]}
end
if b[3] then
  return {3, ''}
end
return {0, b[5]}
