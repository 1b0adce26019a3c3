-- release.lua: no longer be the producer of a batch.
-- KEYS[1] weir:{NAME}:producer
-- ARGV[1] who asks
-- Returns 1 when it held the lease, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
