-- lease.lua: be, or stay, the one producer of a batch.
-- KEYS[1] weir:{NAME}:producer  KEYS[2] weir:{NAME}:batch
-- ARGV[1] who asks  ARGV[2] length (ms)  ARGV[3] a holder known to be dead, or ''
-- Returns '' when held by the asker, else the holder. The batch, if there is one, remembers
-- who held it last.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'producer', ARGV[1])
end
return ''
