-- seal.lua: the source has ended (sealed) or the batch is given up (cancelled): N is known.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:out
-- ARGV[1] 'sealed' or 'cancelled'
-- Returns the state it has now: sealed, done or cancelled; '' when there is no such batch.
-- Retry: a batch that is sealed, done or cancelled already stays as it is; a sealed one
-- may still be cancelled.
local b = redis.call('HMGET', KEYS[1], 'state', 'next', 'ok', 'failed', 'cancelled')
if not b[1] then
  return ''
end
if b[1] == 'open' then
  redis.call('HSET', KEYS[1], 'state', ARGV[1], 'n', b[2])
  if b[3] + b[4] + b[5] == tonumber(b[2]) then
    if ARGV[1] == 'sealed' then
      redis.call('HSET', KEYS[1], 'state', 'done')
    end
    redis.call('XADD', KEYS[2], '*', 'end', b[2])
  end
elseif b[1] == 'sealed' and ARGV[1] == 'cancelled' then
  redis.call('HSET', KEYS[1], 'state', 'cancelled')
end
return redis.call('HGET', KEYS[1], 'state')
