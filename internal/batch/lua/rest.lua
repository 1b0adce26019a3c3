-- rest.lua: a suspect's attempt alone has ended, its worker lives, and it has no outcome
-- yet: what died beside it earlier was not its fault.
-- KEYS[1] weir:{NAME}:suspects
-- ARGV[1] seq
-- Returns 1 when it was running alone, else 0. Retry: 0, and the same state.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known or not string.match(known, '^%d+ %S+ %S+$') then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
