-- trim.lua: forget outcomes that have been read for good.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:out
-- ARGV[1] the oldest stream ID to keep  ARGV[2] how many outcomes have been given out, in all
-- Returns how many entries went.
redis.call('HSET', KEYS[1], 'given', ARGV[2])
return redis.call('XTRIM', KEYS[2], 'MINID', ARGV[1])
