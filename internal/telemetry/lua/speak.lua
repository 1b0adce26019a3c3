-- speak.lua: be, or stay, or cease to be the one process that tells of the whole cluster.
-- KEYS[1] weir:{telemetry}:speaker  who it is
-- ARGV[1] who asks  ARGV[2] for how long (ms), 0 to cease
-- Returns 1 if it is the asker, else 0.
local who = redis.call('GET', KEYS[1])
if who and who ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
if who then
  redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- which a Redis that is full allows, too
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
