-- create.lua: make a batch unless there is one of this name.
-- KEYS[1] weir:{NAME}:batch
-- ARGV[1] format  ARGV[2] created (ms)  ARGV[3] options (JSON)
-- ARGV[4] ms from now, on Redis' clock, to its deadline; 0 if it has none
-- ARGV[5] 1 if outcomes of tasks that are ok are counted, and not kept for readers
-- Returns 1 when made, 0 when it was there already.
-- Retry: after a lost reply the second call returns 0; the caller compares options.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'created', ARGV[2], 'opts', ARGV[3],
  'state', 'open', 'next', 0, 'hash', '', 'ok', 0, 'failed', 0, 'cancelled', 0, 'retries', 0)
if ARGV[4] ~= '0' then
  local now = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'deadline', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4]))
end
if ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'quiet', 1)
end
return 1
