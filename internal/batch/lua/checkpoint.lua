-- checkpoint.lua: move the checkpoint, by compare-and-set.
-- KEYS[1] weir:{NAME}:batch
-- ARGV[1] next expected  ARGV[2] next wanted  ARGV[3] running hash of the input up to there
-- Returns {1, next, state} when it stands at the wanted place, else {0, next, state}.
-- Retry: a second call finds the wanted place reached and returns 1.
local b = redis.call('HMGET', KEYS[1], 'next', 'state')
if not b[1] then
  return {0, -1, ''}
end
if b[2] ~= 'open' then
  return {0, tonumber(b[1]), b[2]}
end
if b[1] == ARGV[1] then
  redis.call('HSET', KEYS[1], 'next', ARGV[2], 'hash', ARGV[3])
  return {1, tonumber(ARGV[2]), b[2]}
end
if b[1] == ARGV[2] then
  return {1, tonumber(b[1]), b[2]}
end
return {0, tonumber(b[1]), b[2]}
