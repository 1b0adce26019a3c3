-- view.lua: tell how a lane is, without touching it.
-- KEYS[1] weir:{LANE}:flow  (string: the governor's state, packed)
-- ARGV[1] the time (s), only in tests; all time is Redis' own
-- Returns {} for a lane without a state, else {limit, state, the lane's rate (1/1000 s), base (us), ratio (1/1000),
-- wait (ms), in flight, wanted, workers, why, how long ago (ms), the share of errors (1/1000)}. States are those of sync.lua.
-- Errors: NEWER when a newer weir wrote the state.
-- Retry: reads only.
local raw = redis.call('GET', KEYS[1])
if not raw then return {} end
local codec = rawget(_G, 'cmsgpack')
local s = codec and codec.unpack(raw) or cjson.decode(raw)
if s.v > 1 then return redis.error_reply('NEWER the lane is governed by a newer weir') end
local clock = redis.call('TIME')
local now = tonumber(ARGV[1] or '') or clock[1] + clock[2] / 1e6
local function milli(x) return math.floor(x * 1000 + 0.5) end

local busy, wants, workers = 0, 0, 0
for _, w in pairs(s.w) do
  if w[4] > now then
    busy, wants, workers = busy + w[3], wants + w[2], workers + 1
  end
end
local state, wait = s.st, 0
if s.held == 1 then
  state = 4
elseif s.st == 1 then
  wait = s.openU - now
elseif now < s.pause then
  state, wait = 3, s.pause - now
end
local eN, eO = s.eN or 0, s.eO or 0
return {math.floor(s.L), state, milli(s.R), math.floor(s.base * 1e6), milli(s.rr), milli(math.max(0, wait)),
  busy, wants, workers, s.why, milli(now - s.whyT), milli(eO / math.max(1e-9, eN + eO))}
