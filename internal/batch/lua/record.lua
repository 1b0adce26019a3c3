-- record.lua: give a task its outcome, if it has none.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K
-- KEYS[3] weir:{NAME}:out    KEYS[4] weir:{NAME}:dead  KEYS[5] weir:{NAME}:suspects
-- ARGV[1] seq  ARGV[2] offset in the segment  ARGV[3] segment number  ARGV[4] segment size
-- ARGV[5] state  ARGV[6] outcome (JSON line)  ARGV[7] wait before the first start (us, -1 unknown)
-- ARGV[8] retries it took  ARGV[9] outcome with payload for the dead letters, or ''
-- Returns 1 recorded, 2 recorded and with it the batch is complete, 0 it has one already,
-- -1 there is no such batch.
-- Retry: a second call returns 0, so a lost reply is harmless.
local b = redis.call('HMGET', KEYS[1], 'state', 'n', 'full:' .. ARGV[3], 'next', 'top', 'quiet', 'suspects')
if not b[1] then
  return -1
end
if b[3] or redis.call('SETBIT', KEYS[2], ARGV[2], 1) == 1 then
  return 0
end
if redis.call('HINCRBY', KEYS[1], 'set:' .. ARGV[3], 1) == tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'full:' .. ARGV[3], 1)
  redis.call('HDEL', KEYS[1], 'set:' .. ARGV[3])
  redis.call('DEL', KEYS[2])
end
if tonumber(ARGV[1]) >= tonumber(b[4]) and tonumber(ARGV[1]) >= tonumber(b[5] or 0) then
  redis.call('HSET', KEYS[1], 'top', ARGV[1] + 1) -- the checkpoint has not passed it yet
end
redis.call('HINCRBY', KEYS[1], ARGV[5], 1)
if ARGV[8] ~= '0' then
  redis.call('HINCRBY', KEYS[1], 'retries', ARGV[8])
end
if not b[6] or ARGV[5] ~= 'ok' then
  redis.call('XADD', KEYS[3], '*', 'o', ARGV[6], 'w', ARGV[7])
end
if ARGV[9] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[9])
end
if b[7] then
  redis.call('HDEL', KEYS[5], ARGV[1])
  if redis.call('EXISTS', KEYS[5]) == 0 then
    redis.call('HDEL', KEYS[1], 'suspects')
  end
end
if b[2] then
  local c = redis.call('HMGET', KEYS[1], 'ok', 'failed', 'cancelled')
  if c[1] + c[2] + c[3] == tonumber(b[2]) then
    if b[1] == 'sealed' then
      redis.call('HSET', KEYS[1], 'state', 'done')
    end
    redis.call('XADD', KEYS[3], '*', 'end', b[2])
    return 2
  end
end
return 1
