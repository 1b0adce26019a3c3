-- beat.lua: say that a worker lives, and hear of those that do no more.
-- KEYS[1] weir:{workers}:beats  (sorted set: mark -> when it last beat, ms)
-- KEYS[2] weir:{workers}:watch  (hash: since, last: somebody watched all the time between)
-- ARGV[1] the worker's mark  ARGV[2] after which silence one is dead (ms)
-- ARGV[3] the longest break of a watch (ms)  ARGV[4] how long the dead are known (ms)
-- Returns the marks of the dead. All time is Redis' own. Where nobody has come for a
-- while, Redis itself was away, or its clock was set: the watch begins anew.
-- Retry: the same again.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function ms(n) return string.format('%.0f', n) end

redis.call('ZADD', KEYS[1], ms(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms(now - ARGV[4]))
local since = tonumber(redis.call('HGET', KEYS[2], 'since') or now)
local last = tonumber(redis.call('HGET', KEYS[2], 'last') or now)
if now < last or now - last > tonumber(ARGV[3]) then
  since = now
end
redis.call('HSET', KEYS[2], 'since', ms(since), 'last', ms(now))
if now - since < tonumber(ARGV[2]) then
  return {}
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now - ARGV[2]))
