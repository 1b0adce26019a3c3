-- put.lua: change a schedule's record, unless somebody else has.
-- KEYS[1] weir:{:schedules}:lock  KEYS[2] weir:{:schedules}:all
-- ARGV[1] what the lock must hold, or '' from whoever needs none  ARGV[2] the name
-- ARGV[3] its record as it was read, or '' for none  ARGV[4] the new one, or '' for none
-- Returns 1 when it is changed, 0 when the lock is another's, -1 when the record is another.
-- Retry: -1 then; whoever asks reads again.
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if (redis.call('HGET', KEYS[2], ARGV[2]) or '') ~= ARGV[3] then
  return -1
end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
end
return 1
