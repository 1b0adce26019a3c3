-- name.lua: be, stay, or no longer be the one worker of a name.
-- KEYS[1] weir:worker:NAME
-- ARGV[1] who asks  ARGV[2] its mark in leases  ARGV[3] how long the record stays (ms), 0 to leave
-- ARGV[4] the holder and beat of one known to be dead, as replied, or ''
-- Returns {holder, beat, mark}: another holds the name; or {'', 0, mark of the one before or 0}.
-- Retry: the holder that asks again only adds a beat.
local w = redis.call('HMGET', KEYS[1], 'holder', 'beat', 'mark')
if ARGV[3] == '0' then
  if w[1] == ARGV[1] then
    redis.call('DEL', KEYS[1])
  end
  return {'', 0, 0}
end
local before = 0
if w[1] and w[1] ~= ARGV[1] then
  if w[1] .. ' ' .. w[2] ~= ARGV[4] then
    return {w[1], tonumber(w[2]), tonumber(w[3])}
  end
  before = tonumber(w[3])
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'mark', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'beat', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'', 0, before}
