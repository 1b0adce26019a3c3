-- crash.lua: a task was active when its worker died.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K  KEYS[3] weir:{NAME}:suspects
-- ARGV[1] seq  ARGV[2] offset in the segment  ARGV[3] segment number
-- ARGV[4] the lease it had when its worker died, by which one death is told from the next
-- ARGV[5] at which count tasks run alone; from there on a death counts only if it was
-- running in the worker that died, as the mark in the lease tells
-- Returns how often its worker has died; 0 when it has its outcome; -1 there is no such batch.
-- Retry: a death that is reported again, by whomever, counts once.
local b = redis.call('HMGET', KEYS[1], 'state', 'full:' .. ARGV[3])
if not b[1] then
  return -1
end
if b[2] or redis.call('GETBIT', KEYS[2], ARGV[2]) == 1 then
  return 0
end
local n, lease, running = 0, '', ''
local known = redis.call('HGET', KEYS[3], ARGV[1])
if known then
  n, lease, running = string.match(known, '^(%d+) (%S+) ?(%S*)$')
  n = tonumber(n)
end
if lease ~= ARGV[4] and (n < tonumber(ARGV[5]) or tonumber(running) == (tonumber(ARGV[4]) or 0) % 1) then
  n = n + 1
  redis.call('HSET', KEYS[3], ARGV[1], n .. ' ' .. ARGV[4])
  redis.call('HSET', KEYS[1], 'suspects', 1)
end
return n
