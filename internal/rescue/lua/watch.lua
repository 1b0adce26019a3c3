-- watch.lua: be, or stay, one of the two that watch a lane.
-- KEYS[1] weir:{LANE}:rescuer  KEYS[2] weir:{LANE}:rescuer2
-- ARGV[1] who asks  ARGV[2] how long that holds (ms)
-- Returns 1 when it is the one that acts, 2 when it is the one that takes over, else 0.
-- Retry: a place that is held is kept.
local first, second = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if not first or first == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if second == ARGV[1] then
    redis.call('DEL', KEYS[2])
  end
  return 1
end
if not second or second == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return 2
end
return 0
