-- rest.lua: a suspect's attempt has ended, its worker lives, and it has no outcome yet.
-- KEYS[1] weir:{NAME}:suspects
-- ARGV[1] seq
-- Returns 1 when it was marked as running, else 0.
local known = redis.call('HGET', KEYS[1], ARGV[1])
local rest = known and string.match(known, '^(%d+ %S+) running$')
if not rest then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], rest)
return 1
