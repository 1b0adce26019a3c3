-- hold.lua: take the daemons' lock, or keep it.
-- KEYS[1] weir:{:schedules}:lock  KEYS[2] weir:{:schedules}:fence
-- ARGV[1] who  ARGV[2] for how long (ms)
-- Returns the fence: more than 0 when the lock is held, a new one when it was taken anew; 0
-- when another has it.
-- Retry: whoever has it already keeps it.
local held = redis.call('GET', KEYS[1])
if not held then
  local fence = redis.call('INCR', KEYS[2])
  redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
  return fence
end
local fence, who = string.match(held, '^(%d+) (.*)$')
if who ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return tonumber(fence)
