-- checkpoint.lua: move the checkpoint, by compare-and-set.
-- KEYS[1] weir:{NAME}:batch
-- ARGV[1] place expected  ARGV[2] place wanted  ARGV[3] running hash of the input read so far
-- A place is NEXT, or where later seqs have overtaken the checkpoint "NEXT AHEAD UPTO": how
-- many have, and how many records were read. The hash holds these two as 'beyond'.
-- Returns {1, next, state} when it stands at the wanted place, else {0, next, state}.
-- Retry: a second call finds the wanted place reached and returns 1.
local b = redis.call('HMGET', KEYS[1], 'next', 'state', 'beyond')
if not b[1] then
  return {0, -1, ''}
end
local next = tonumber(b[1])
if b[2] ~= 'open' then
  return {0, next, b[2]}
end
if b[3] then
  b[1] = b[1] .. ' ' .. b[3]
end
if b[1] == ARGV[1] then
  local to, beyond = string.match(ARGV[2], '^(%d+) ?(.*)$')
  redis.call('HSET', KEYS[1], 'next', to, 'hash', ARGV[3])
  if beyond ~= '' then
    redis.call('HSET', KEYS[1], 'beyond', beyond)
  elseif b[3] then
    redis.call('HDEL', KEYS[1], 'beyond')
  end
  return {1, tonumber(to), b[2]}
end
if b[1] == ARGV[2] then
  return {1, next, b[2]}
end
return {0, next, b[2]}
