-- seal.lua: the source has ended (sealed) or the batch is given up (cancelled): N is known.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:out
-- ARGV[1] 'sealed' or 'cancelled'  ARGV[2] 1 if it is given up because its deadline passed
-- ARGV[3] where the checkpoint must stand for it to be sealed, as in checkpoint.lua; '' anywhere
-- Returns the state it has now: sealed, done or cancelled; open when the checkpoint stands
-- elsewhere, and nothing has changed; '' when there is no such batch.
-- What is given up counts all that was read, tasks that ended before the checkpoint had
-- passed them, and those below: the checkpoint moves to N.
-- Retry: a batch that is sealed, done or cancelled already stays as it is; a sealed one
-- may still be cancelled.
local b = redis.call('HMGET', KEYS[1], 'state', 'next', 'ok', 'failed', 'cancelled', 'top', 'beyond')
if not b[1] then
  return ''
end
local giveup = ARGV[1] == 'cancelled' and (b[1] == 'open' or b[1] == 'sealed')
if giveup and ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'expired', 1)
end
if b[1] == 'open' then
  local n = b[2]
  if not giveup and ARGV[3] ~= '' and ARGV[3] ~= n .. (b[7] and ' ' .. b[7] or '') then
    return 'open'
  end
  local upto = b[7] and string.match(b[7], '%d+$')
  if giveup and upto and tonumber(upto) > tonumber(n) then
    n = upto
  end
  if giveup and b[6] and tonumber(b[6]) > tonumber(n) then
    n = b[6]
  end
  redis.call('HSET', KEYS[1], 'state', ARGV[1], 'n', n, 'next', n)
  redis.call('HDEL', KEYS[1], 'beyond')
  if b[3] + b[4] + b[5] == tonumber(n) then
    if ARGV[1] == 'sealed' then
      redis.call('HSET', KEYS[1], 'state', 'done')
    end
    redis.call('XADD', KEYS[2], '*', 'end', n)
  end
elseif giveup then
  redis.call('HSET', KEYS[1], 'state', 'cancelled')
end
return redis.call('HGET', KEYS[1], 'state')
