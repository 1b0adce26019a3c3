-- record.lua: give tasks, of one segment, their outcomes, those that have none.
-- KEYS[1] weir:{NAME}:batch  KEYS[2] weir:{NAME}:bits:K
-- KEYS[3] weir:{NAME}:out    KEYS[4] weir:{NAME}:dead  KEYS[5] weir:{NAME}:suspects
-- ARGV[1] segment number  ARGV[2] segment size
-- From the third argument on, six for each outcome: offset of its task in the segment,
-- state, outcome (JSON line), wait before the first start (us, -1 unknown), retries it
-- took, outcome with payload for the dead letters or ''.
-- Returns for each: 1 recorded, 2 recorded and with it the batch is complete, 0 it has one
-- already or comes behind the batch's last task, -1 there is no such batch.
-- Retry: a second call returns 0, so a lost reply is harmless.
local b = redis.call('HMGET', KEYS[1], 'state', 'n', 'full:' .. ARGV[1], 'next', 'top', 'quiet', 'suspects')
local first, counts, new, top = ARGV[1] * ARGV[2], {}, 0, -1

local function record(at, state, line, wait, retries, dead)
  if not b[1] then
    return -1
  end
  if b[2] and first + at >= tonumber(b[2]) then
    return 0
  end
  if b[3] or redis.call('SETBIT', KEYS[2], at, 1) == 1 then
    return 0
  end
  new, top = new + 1, math.max(top, first + at)
  counts[state] = (counts[state] or 0) + 1
  if retries ~= '0' then
    counts.retries = (counts.retries or 0) + retries
  end
  if not b[6] or state ~= 'ok' then
    redis.call('XADD', KEYS[3], '*', 'o', line, 'w', wait)
  end
  if dead ~= '' then
    redis.call('HSET', KEYS[4], string.format('%.0f', first + at), dead)
  end
  if b[7] then
    redis.call('HDEL', KEYS[5], string.format('%.0f', first + at))
  end
  return 1
end

local answer, last = {}, 0
for i = 3, #ARGV, 6 do
  local n = #answer + 1
  answer[n] = record(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
  if answer[n] == 1 then
    last = n
  end
end
if new == 0 then
  return answer
end

if redis.call('HINCRBY', KEYS[1], 'set:' .. ARGV[1], new) == tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'full:' .. ARGV[1], 1)
  redis.call('HDEL', KEYS[1], 'set:' .. ARGV[1])
  redis.call('DEL', KEYS[2])
end
if top >= tonumber(b[4]) and top >= tonumber(b[5] or 0) then
  redis.call('HSET', KEYS[1], 'top', string.format('%.0f', top + 1)) -- the checkpoint has not passed it yet
end
for field, n in pairs(counts) do
  redis.call('HINCRBY', KEYS[1], field, n)
end
if b[7] and redis.call('EXISTS', KEYS[5]) == 0 then
  redis.call('HDEL', KEYS[1], 'suspects')
end
if b[2] then
  local c = redis.call('HMGET', KEYS[1], 'ok', 'failed', 'cancelled')
  if c[1] + c[2] + c[3] == tonumber(b[2]) then
    if b[1] == 'sealed' then
      redis.call('HSET', KEYS[1], 'state', 'done')
    end
    redis.call('XADD', KEYS[3], '*', 'end', b[2])
    answer[last] = 2
  end
end
return answer
