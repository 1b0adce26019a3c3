-- watch.lua: be, or stay, the one that acts for a lane.
-- KEYS[1] weir:{LANE}:rescuer  ARGV[1] who asks  ARGV[2] how long that holds (ms)
-- Returns 1 when it is, else 0.
-- Retry: a place that is held is kept.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
