-- take.lua: be the one reader of a batch whose outcomes leave Redis as they are read.
-- KEYS[1] weir:{NAME}:batch
-- ARGV[1] who asks
-- Returns who is: the first that has asked. Nil if there is no such batch.
-- Retry: the same again.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
redis.call('HSETNX', KEYS[1], 'reader', ARGV[1])
return redis.call('HGET', KEYS[1], 'reader')
