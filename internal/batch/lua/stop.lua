-- stop.lua: mark a batch as stopped, or take the mark away: its producer may, or who was last.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:producer
-- ARGV[1] who asks  ARGV[2] 1 for stopped, 0 for not
-- Returns '' when it is so, else who is or was the producer; nil when there is no such batch.
-- Retry: the same again. What comes late, when another has taken the batch over, does nothing.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local holder = redis.call('GET', KEYS[2]) or redis.call('HGET', KEYS[1], 'producer')
if holder and holder ~= ARGV[1] then
  return holder
end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'stopped', 1)
else
  redis.call('HDEL', KEYS[1], 'stopped')
end
return ''
