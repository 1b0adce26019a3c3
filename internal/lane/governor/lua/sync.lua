-- sync.lua: take one worker's report of a lane, decide the lane's limits, and lease the worker its share.
-- KEYS[1] weir:{LANE}:flow         (string: the governor's state, packed)
-- KEYS[2] weir:{LANE}:flow:v       (hash: what of it people read, written when it changes)
-- KEYS[3] weir:{LANE}:flow:config  (hash: what the operator wants)
-- ARGV[1] the worker, unique per start  ARGV[2] the epoch it knows, 0 for none
-- ARGV[3] how many tasks it wants in flight  ARGV[4] has, with permits at rest  ARGV[5] could have
-- ARGV[6] tokens it has not used  ARGV[7] replies since its last report that were no overload
-- Of requests of that epoch: ARGV[8] replies  ARGV[9] overloads  ARGV[10] the sum of the replies'
-- latencies  ARGV[11] of their squares (s)  ARGV[12] their histogram, "bucket:count,..."
-- ARGV[13] the longest Retry-After seen (s), 0 for none  ARGV[14] the age of its request (s)
-- ARGV[15] requests left of the service's quota, -1 for unknown  ARGV[16] until it is full again (s)
-- ARGV[17] of requests of any epoch those that were refused or not answered, since its last report
-- ARGV[18] the time (s), only in tests; all time is Redis' own
-- Returns {permits, epoch, settle (ms), tokens (-1: no rate), the lane's rate, the worker's share of it
-- (1/1000 s), wait (ms), limit, state, base (us), ratio (1/1000), interval (ms), lease (ms), why, limit before}.
-- why is empty unless this call changed something worth telling.
-- State: 0 open, 1 outage, 2 probing, 3 paused by the service, 4 paused by the operator.
-- Errors: NEWER when a newer weir wrote state or config, CONFIG when config is no number.
-- Retry: what was reported twice is counted twice, which no decision rests on; the lease is the same.

local VERSION = 1
local START = 4                -- the limit of a lane nobody knows yet
local INTERVAL, PER_WORKER = 0.25, 0.004
local LEASE = 2
local TURN = 2                 -- for how long an extra permit stays with one worker (s)
local KEEP = 3600              -- for how long an idle lane is remembered
local LO, HI = 1.08, 1.12      -- latency against the baseline: grow below, shrink above
local LOOKS, LOOK = 150, 3     -- replies and seconds between two looks above a ceiling, at most
local SEEN_FOR = 10            -- how far back the share of errors goes that people see (s)
local OPEN, OUTAGE, PROBING, PAUSED, HELD = 0, 1, 2, 3, 4
local HAS, WANTS, BUSY, ENDS, EXTRA, BARRED, SLOTS, SEEN = 1, 2, 3, 4, 5, 6, 7, 8

local max, min, floor, ceil, sqrt, exp, log = math.max, math.min, math.floor, math.ceil, math.sqrt, math.exp, math.log
local function clamp(x, lo, hi) return max(lo, min(hi, x)) end
local function hypot(x, y) return sqrt(x * x + y * y) end

-- Redis' Lua has cmsgpack; an embedded Redis has only cjson.
local codec = rawget(_G, 'cmsgpack')
local pack = codec and codec.pack or cjson.encode
local unpack_ = codec and codec.unpack or cjson.decode

local clock = redis.call('TIME')
local now = tonumber(ARGV[18] or '') or clock[1] + clock[2] / 1e6
local worker, epoch = ARGV[1], tonumber(ARGV[2])
local wants, busy, slots = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local unused, answered = tonumber(ARGV[6]), tonumber(ARGV[7])
local n, ov, sum, sum2 = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local after, age = tonumber(ARGV[13]), tonumber(ARGV[14])
local left, reset = tonumber(ARGV[15]), tonumber(ARGV[16])
local errors = tonumber(ARGV[17])

-- ---- what the operator wants

local cfg = {}
local fields = {'format', 'max', 'min', 'limit', 'rate', 'burst', 'paused'}
for i, v in ipairs(redis.call('HMGET', KEYS[3], unpack(fields))) do
  cfg[fields[i]] = v and tonumber(v) or 0
  if i == 1 and cfg.format > VERSION then return redis.error_reply('NEWER the lane was configured by a newer weir') end
  if v and not tonumber(v) then return redis.error_reply('CONFIG ' .. fields[i] .. ' of the lane is no number') end
end

-- ---- the state

local function fresh(limit, rate)
  return {
    v = VERSION, L = limit, ss = 1, st = OPEN, act = now, w = {}, wn = 1,
    -- the round: what came back since the last decision. Epochs never repeat, also when the state was lost.
    ep = floor(now * 1000), ws = now, h = {}, n = 0, ov = 0, sum = 0, sum2 = 0, peak = 0, settle = 0, lastL = 0,
    -- latency: the baselines of three quantiles and of the mean, from so many samples; the last ratio to them
    base = 0, b1 = 0, b2 = 0, b3 = 0, b4 = 0, mu = 0, bN = 0, baseOK = now, meanP = 0, tail = 0, rr = 1, pPrev = 0,
    sd = 0, cv = 0, sure = 0,
    hot = 0, hotT = 0, latLim = 0, serL = 0, serPL = 0, serP = 0, serN = 0, prb = 0, prbO = 0, prbL = 0, prbT = 0, prbH = 15,
    -- growth: the ceiling, until when and replies since; steps, what the last growth bought
    ceil = 0, ceilU = 0, okC = 0, clean = 0, hold = 2, boost = 1, refL = 0, refM = 0, refE = 0, holdX = 0,
    -- overload: its background share; the limit before; outages; how many since the last reply
    bad = 0, fb = 0, fbN = 0, fbOK = now, cutT = 0, preL = 0, preT = 0, lastOK = now, cool = 0.5, openU = 0, saved = 0, prober = 0,
    -- quota
    R = rate, cfgR = 0, minR = 0, good = 0, tat = 0, pause = 0, pEnd = now, okS = 0, lastEv = 0, nextR = 0, rH = 20, rB = 1,
    okRate = 0, okT = now, okN = 0, hdrT = 0, win = 0, rl = 0, guess = 0, refused = 0, after = 0,
    learn = 0, held = 0, again = 0, why = 'new', whyT = now,
    -- for people: replies and errors of about the last SEEN_FOR seconds
    eN = 0, eO = 0,
  }
end

local raw = redis.call('GET', KEYS[1])
local s = raw and unpack_(raw)
if s and s.v > VERSION then return redis.error_reply('NEWER the lane is governed by a newer weir') end
local lapsed = false
if not s or s.v < VERSION then
  s, lapsed = fresh(START, 0), epoch > 0 -- somebody may have tasks in flight
elseif now < s.act - LEASE then
  s, lapsed = fresh(s.L, s.R), true      -- another Redis, whose clock is behind
end
s.clean, s.cutT = s.clean or 0, s.cutT or 0 -- an earlier weir did not have them
s.prbT, s.prbH = s.prbT or 0, s.prbH or 15
s.eN, s.eO, s.good, s.win = s.eN or 0, s.eO or 0, s.good or 0, s.win or 0
now = max(now, s.act)
local interval = max(INTERVAL, PER_WORKER * s.wn)
local lease = max(LEASE, 4 * interval)

local was = {L = s.L, st = s.st, R = s.R, held = s.held}
local why = ''

local function new_round()
  s.ep, s.ws, s.h, s.n, s.ov, s.sum, s.sum2, s.peak, s.settle = s.ep + 1, now, {}, 0, 0, 0, 0, 0, 0
  local limit = s.prb == 1 and s.prbL or s.L
  if limit < 0.9 * s.lastL or limit > 1.1 * s.lastL then -- let the old traffic drain first
    s.settle, s.pPrev = 1.5 * s.b3 * max(1, s.pPrev), 0
    if s.ss == 1 then s.settle = 0.4 * s.settle end -- half the load before: no queue to drain
  end
  s.lastL = limit
end

-- ---- the workers

local me = s.w[worker] or {0, 0, 0, 0, 0, 0, 0, 0}
me[WANTS], me[BUSY], me[SLOTS], me[ENDS], me[SEEN] = wants, busy, slots, now + lease, now
s.w[worker] = me
local workers, all_wants, all_slots, all_busy, others_have, extras = 0, 0, 0, 0, 0, 0
for id, w in pairs(s.w) do
  if w[ENDS] <= now then
    s.w[id] = nil
  else
    workers, all_wants, all_slots = workers + 1, all_wants + w[WANTS], all_slots + w[SLOTS]
    if w[SEEN] > now - 2.5 * interval then all_busy = all_busy + w[BUSY] end
    if id ~= worker then
      others_have = others_have + w[HAS]
      if w[EXTRA] > 0 then extras = extras + 1 end
    end
  end
end
s.wn = workers

local LOWEST = max(1, cfg.min)
local HIGHEST = max(LOWEST, cfg.max > 0 and cfg.max or all_slots)
local function set(limit, reason)
  if cfg.limit > 0 then return end
  limit = clamp(limit, LOWEST, HIGHEST)
  if floor(limit) ~= floor(s.L) then why = reason end
  s.L = limit
end

if now - s.act > 30 then -- idle: what was known is old
  s.L, s.ss = max(min(s.L, START), s.L / 2), 1
end
if now - s.act > lease then lapsed = true end
if lapsed then -- nobody has a lease: for a while everyone keeps what he has
  s.learn, s.lastOK = now + 2 * interval, now
  new_round()
end
local fade = exp((s.act - now) / SEEN_FOR)
s.eN, s.eO = fade * s.eN + answered, fade * s.eO + errors
s.act = now

-- ---- the report

if epoch == s.ep and n + ov > 0 then
  for bucket, count in string.gmatch(ARGV[12], '(%d+):(%d+)') do
    s.h[bucket] = (s.h[bucket] or 0) + tonumber(count)
  end
  s.n, s.ov, s.sum, s.sum2 = s.n + n, s.ov + ov, s.sum + sum, s.sum2 + sum2
  s.bad = s.bad + ov
end
s.okN, s.okS, s.okC = s.okN + answered, s.okS + answered, s.okC + answered
if answered > 0 then s.lastOK, s.bad = now, 0 end
if now - s.okT >= 1 then
  s.okRate = s.okRate + 0.5 * (s.okN / (now - s.okT) - s.okRate)
  s.okT, s.okN = now, 0
end

-- ---- quota: the rate, and pauses the service asked for

if s.cfgR ~= cfg.rate then s.cfgR, s.R, s.minR = cfg.rate, cfg.rate, cfg.rate end
if s.R > 0 then
  s.minR = min(s.minR, s.R)
  if unused > 0 then s.tat = max(now, s.tat - unused / s.R) end
end

-- The service has refused the rate R. At first nothing is known but how much came through
-- last: a guess, which is soon tried out. From the end of the last pause to that of this one
-- so many came through: where pauses are long, a window's, that is exact if never less was
-- asked for. Else the truth is between that average and the rate that was refused.
local function learn_rate()
  local refused = s.R
  -- Each try of a higher rate costs a pause, and a refusal of so many requests.
  local first = max(clamp(5 * after, 3, 60), min(60, 40 / max(0.2, s.R)))
  local average, paused = s.okS / (now + after - s.pEnd), max(after, s.pEnd - s.lastEv)
  local least = 0.7
  if after <= 1 and s.R < 10 and s.okS < 20 and s.guess == 0 then
    least = 0.8 -- of few requests a second, a few replies make no average
  elseif s.R >= 10 and now - s.pEnd < 2 then
    least = 0.6 -- again at once: far above
  end
  s.guess = 0
  if s.lastEv == 0 then
    local last = now - s.okT >= interval and s.okN / (now - s.okT) or 0
    -- Of a lane's first requests hardly any may have come through: then R doubles.
    s.R, first, s.guess = 0.7 * max(s.okRate, last), 1, s.okRate == 0 and 1 or 0.32
    if after >= 5 and now - s.pEnd <= after and s.okS >= 30 then -- perhaps a window, and all it had
      s.R, first = 0.98 * (s.okS + all_busy) / (now + after - s.pEnd), 20
    end
    if cfg.rate > 0 then s.R = min(cfg.rate, s.R) end
    s.R = max(0.5, s.R)
  elseif paused >= 5 and s.minR >= average then
    s.R = 0.98 * average
  elseif s.good > 0 and s.R > s.good and s.R < 1.4 * s.good then -- what held until it was tried higher
    s.R = s.good + 0.1 * (s.R - s.good)
    s.good = s.R
  else
    s.R, s.good = clamp(sqrt(average * s.R), least * s.R, 0.95 * s.R), 0
  end
  s.R = max(0.2, s.R)
  -- Refused again at the same rate: that is the service's, and is tried more rarely.
  if refused > 0.75 * s.refused and refused < 1.25 * s.refused then
    s.rH = min(120, 1.5 * max(s.rH, first))
  else
    s.rH = first
  end
  s.refused, s.after = refused, max(after, s.after / 2)
  s.minR, s.lastEv, s.okS, s.nextR, s.rB = s.R, now, 0, now + after + s.rH, 1
  why = string.format('the service asked to wait %.0f s; rate %.1f -> %.1f/s', after, refused, s.R)
end

if left >= 0 and reset > 0.05 then
  s.hdrT = now
  s.win = max(s.win, reset)
  local others = s.win >= 10 and reset < 1 and all_busy or 0 -- those under way may be of what is left
  if left <= others then
    s.pause = max(s.pause, now + reset)
  else
    local even = 0.98 * (left - others) / reset
    s.R = s.R == 0 and even or s.R + 0.5 * (even - s.R)
    if cfg.rate > 0 then s.R = min(cfg.rate, s.R) end
  end
elseif after > 0 then
  if now - age >= s.pEnd and now >= s.pEnd then
    learn_rate()
  elseif s.lastEv == 0 then -- the tail of what a lost state knew
    s.okS = 0
  end
  s.pause = max(s.pause, now + after * (1 + 0.05 * (floor(now * 1e6) % 1000) / 1000))
  s.pEnd = s.pause
elseif s.R > 0 and (cfg.rate == 0 or s.R < cfg.rate) and s.rl == 1
  and now - s.hdrT > 60 and now > s.nextR and now > s.pause
  and s.R < 3 * max(1, s.okRate, s.okS / max(0.001, now - s.pEnd)) then -- far above what comes through it holds nothing back
  -- A few requests show what a rate does; in a long window it shows late.
  local step, every = min(s.after <= 1 and s.R < 10 and 0.08 or 0.32, 0.02 * s.rB), max(1.25, 8 / s.R, s.after / 2)
  if s.guess > 0 then
    step, every = s.guess, 1
  elseif s.rB == 1 then
    s.good = s.R
  end
  s.R = s.R * (1 + step)
  if cfg.rate > 0 then s.R = min(cfg.rate, s.R) end
  s.rB, s.nextR = s.rB * 2, now + every
end

-- ---- the limit

-- The last cut is long ago: the next one is the first of its own.
local function calm()
  return now - s.preT > 2 and s.okC > 60
end

local function trip()
  if s.st == OPEN then
    s.saved = s.L
    if not calm() and now - s.preT < 60 then s.saved = max(s.L, s.preL) end
    why = string.format('outage: %d of %d failed', s.ov, s.n + s.ov)
  end
  s.st, s.openU = OUTAGE, now + max(after, s.cool)
  s.cool, s.prb = min(3, s.cool * 2), 0
  new_round()
end

local function recover()
  s.st, s.ss, s.cool = OPEN, 1, 0.5
  s.fbOK = now -- what a ramp shows of background overload is none of it
  s.ceil, s.ceilU, s.okC = max(1, 0.9 * s.saved), now + 5, LOOKS
  set(min(START, s.saved / 2), '')
  why = string.format('recovered, ramp to %.0f', s.ceil)
  new_round()
end

local buckets = {}
local function quantile(q)
  local rank, c = q * s.n, 0
  for _, b in ipairs(buckets) do
    local k = s.h[tostring(b)]
    if c + k >= rank then return 1e-4 * 2 ^ ((b + (rank - c) / k) / 8) end
    c = c + k
  end
  return 0
end

local function rebase(p, mean)
  s.b1, s.b2, s.b3, s.b4, s.base, s.baseOK, s.mu = p[1], p[2], p[3], p[4], p[2], now, mean
end

local function middle(a, b, c) return a + b + c - max(a, b, c) - min(a, b, c) end

-- How long a request waited, against how long one is served: what a queue adds is the
-- same for fast requests and slow ones, so this holds where latency has two modes.
local function slower(p)
  return max(0.1, 1 + middle(p[1] - s.b1, p[2] - s.b2, p[3] - s.b3) / s.mu)
end

-- That, or what the slowest quarter says beyond doubt: where most are answered from a cache,
-- the others see no queue. But no more than the mean says: the quarter may lie between two modes.
local function ratio(p)
  return max(slower(p), min(1 + (p.slow - s.b4) / s.mu, s.sum / s.n / s.mu))
end

-- Nothing has come back for longer than a request of those seen would take.
local function dead()
  return now - s.lastOK > max(2, (s.bN < 30 and 8 or 4) * s.mu, s.tail)
end

-- For how long nothing but overload makes an outage.
local function quiet()
  if s.base == 0 then return 2 end
  return max(0.5, 3 * s.base)
end

-- How many samples keep the noise of the quantiles at a tenth.
local function needed()
  local samples = 1.5 * s.L
  if s.base == 0 then return 6 end
  if s.prb == 1 and s.prbO == 1 then -- its overload is what is to be seen
    samples = 4 / s.fb
  elseif s.ss == 0 and (s.ceil == 0 or s.L <= s.ceil) then
    samples = max(samples, 121 * s.sd * s.sd)
  end
  return clamp(samples, 12, 150)
end

-- How many tell whether half the load is answered sooner: more where times vary, but no more
-- than come in two seconds.
local function tell()
  return max(10, min(40, 48 * s.sd * s.sd, 2 * s.prbL / s.mu))
end

-- Is there enough to decide upon? Closing too early biases latency low, since fast
-- replies arrive first.
local function closes(elapsed, reacts)
  local all = s.n + s.ov
  local longest = max(1, 4 * s.base + 2 * interval)
  local few = all < 10 and 5 or 1 -- too few to tell anything: a slow service's rounds are long
  -- Of a small limit three rejections are many: there the first says it.
  local enough = 3
  if s.L <= 10 and s.fb < 0.01 and s.ov >= 0.15 * all then enough = 1 end
  if s.prb == 1 and s.prbO == 0 and s.n >= tell() and elapsed >= s.settle + interval then return true end
  -- Above a ceiling that held, the first says it, too; where some overload is usual,
  -- its replies, which come sooner, would make it too large a share.
  local soon, usual = 2 * interval, s.fb >= 0.01
  if s.ceil > 0 and s.L > s.ceil and not usual then enough, soon = 1, interval end
  if s.ov >= enough and reacts and elapsed >= soon and (not usual or s.ov * 4 >= all) then return true end
  if all == 0 and s.base > 0 and dead() then return true end
  if all >= needed() and elapsed >= s.settle + max(interval, (s.ss == 1 and 1.5 or 3) * s.meanP) then return true end
  if s.ov >= 3 and elapsed >= longest then return true end
  return elapsed >= max(8, 4 * longest) * few
end

local function cut_overload(elapsed, share)
  local before, limit = s.L, s.L
  -- A rejected permit rests, so rejections per rest are the excess.
  local rest, most = max(2 * interval, s.base), 0.5
  if s.base == 0 then rest, most = 1, 0.75 end
  local cut = clamp((s.ov - s.fb * (s.n + s.ov)) / max(1, elapsed / rest) / s.L, 0.03, most)
  if calm() then s.cutT, s.preL = now, 0 end
  s.preT, s.preL = now, max(s.preL, s.L)
  limit = limit * (1 - cut)
  if s.ceil > 0 and before > 0.9 * s.ceil and before < max(1.3 * s.ceil, s.ceil + 1.6) then
    -- The same ceiling again. Each look above it costs a rejection or two, of which a
    -- slow service makes a larger share: so the next look waits for replies, too.
    limit = min(limit, max(s.ceil, s.clean)) -- which have held
    if before > 1.01 * s.ceil then s.hold = min(8, s.hold * 2) end
  else
    s.hold = 2
  end
  set(limit, string.format('overload %.1f%%', 100 * share))
  s.ceil, s.ceilU, s.okC, s.clean = s.L, now + min(LOOK, s.hold), 0, 0
  s.ss, s.boost, s.serL, s.hot = 0, 1, 0, 0
end

local function track(q, b, se, young)
  local d = (q - b) / s.mu
  if d < -max(0.15, 1 - exp(-2 * se)) then return b + 0.4 * (q - b) end
  if young then return b end
  if d < 0 then return b + 0.1 * (q - b) end
  if d < 0.07 then return b + 0.05 * (q - b) end
  return b
end

local function cut_latency(p, rr, hi)
  s.latLim, s.hotT = s.latLim + 1, now
  -- A queue of our own shrinks with the limit; a service that merely became slower does not.
  if s.serL == 0 then
    s.serL, s.serPL, s.serP, s.serN = s.L, s.L, rr, 0
  elseif s.L <= 0.8 * s.serPL or s.L <= 2 then
    s.serN = rr > 0.9 * s.serP and s.serN + 1 or 0
    s.serPL, s.serP = s.L, rr
  end
  if s.serN >= 2 or (s.serN >= 1 and s.L <= 2) then
    rebase(p, s.sum / s.n)
    set(max(s.L, 0.7 * s.serL), 'the service is slower, whatever the limit')
    s.serL = 0
    return
  end
  if s.peak > 0.5 * s.L then
    if s.ceil > s.L then s.ceil = 0 end -- it is lower now, and not known
    s.ss = 0
    set(s.L * clamp(hi / rr, 0.6, 0.97), string.format('latency %.1fx baseline (%.0f ms)', rr, s.base * 1000))
  end
  s.boost = 1
end

-- Throughput is limit / latency (Little): growth that buys none is taken back.
local function gains(mean, noise)
  if s.n < 30 then
    return true -- too few for a mean
  elseif s.refL == 0 or s.L < 0.7 * s.refL then
    s.refL, s.refM, s.refE = s.L, mean, noise
  elseif s.L <= 1.1 * s.refL then
    s.refM = s.refM + 0.3 * (mean - s.refM)
  elseif s.L >= 1.5 * s.refL then
    local longer, gain = mean / s.refM, s.L / s.refL
    if s.n >= 60 and longer > (1 + 0.65 * (gain - 1)) * exp(1.5 * hypot(noise, s.refE)) then
      s.holdX = clamp(2 * s.holdX, 15, 120)
      -- What comes through needs so many in flight without a queue.
      s.ceil = max(1, 0.9 * s.refL, min(s.L * s.mu / mean, 0.9 * s.L))
      s.ceilU, s.okC = now + s.holdX, LOOKS
      set(s.ceil, string.format('no gain: latency x%.2f for load x%.2f', longer, gain))
      s.ss, s.boost = 0, 1
      return false
    end
    if longer < 1 + 0.4 * (gain - 1) then s.refL, s.refM, s.refE = s.L, mean, noise end
  end
  return true
end

local function grow()
  if s.ceil > 0 and s.L < s.ceil then
    local to = s.ss == 1 and s.L * 2 or s.L * 1.25 + 1
    if to >= s.ceil then s.ss = 0 end
    set(min(s.ceil, to), 'grows to its ceiling')
  elseif s.ceil > 0 and (now < s.ceilU or s.okC < min(LOOKS, 20 * s.hold)) then
    return
  elseif s.ss == 1 then
    -- Where it has refused before, it will again: then by smaller steps.
    set(s.L * (s.preT > 0 and 1.5 or 2), 'slow start')
  else
    if s.peak >= floor(s.L) then s.clean = s.L end
    -- Where rounds are long; but the first look above a ceiling is a small one.
    local faster = s.L > s.ceil and clamp((now - s.ws) / 2, 1, 3) or 1
    set(s.L + max(1, s.L * min(0.25, 0.05 * s.boost * faster)), 'probes upwards')
    s.boost = s.boost * 1.5
    if s.ceil > 0 and s.L > max(1.5 * s.ceil, s.ceil + 2.5) then -- it is none any more
      s.ceil, s.hold = 0, 2
      if s.holdX == 0 then s.ss = 1 end
    end
  end
end

local function by_latency(p)
  local mean = s.sum / s.n
  -- Of a few requests none may be slow: so the spread of latency is remembered.
  s.cv = max(sqrt(max(0, s.sum2 / s.n - mean * mean)) / mean, 0.95 * s.cv)
  local noise = s.cv / sqrt(s.n)
  s.meanP, s.tail = min(mean, 5), mean + 3 * s.cv * mean
  if s.base == 0 then -- young samples are biased low: they tell no more than how long to wait
    rebase(p, mean)
    s.bN, s.again = 2, 1
    return
  end
  local sd = (p[3] - p[1]) / 1.349 / mean
  if s.sd == 0 then s.sd = sd end
  s.sd = s.sd + 0.3 * (sd - s.sd)
  -- The noise of this round's quantiles, and with that of the baselines.
  local se = min(0.2, 1.25 * sd / sqrt(s.n))
  local wide = hypot(se, 1.25 * s.sd / sqrt(s.bN))
  se = min(0.25, wide)
  local young = s.ss == 1 or s.bN < 30 and s.fb >= 0.01 -- or what is usual ended it early
  if young and (s.bN <= 2 or ratio(p) <= 1.15 * exp(wide)) then
    -- No queue yet: all that slow start saw makes the baseline, without bias.
    local w = s.n / (s.bN + s.n)
    s.b1, s.b2 = s.b1 + w * (p[1] - s.b1), s.b2 + w * (p[2] - s.b2)
    s.b3, s.b4 = s.b3 + w * (p[3] - s.b3), s.b4 + w * (p[4] - s.b4)
    s.mu, s.bN = s.mu + w * (mean - s.mu), min(300, s.bN + s.n)
  end
  s.b1, s.b2 = track(p[1], s.b1, se, young), track(p[2], s.b2, se, young)
  s.b3, s.b4 = track(p[3], s.b3, se, young), track(p[4], s.b4, se, young)
  s.base = s.b2
  local rr = ratio(p)
  if s.ss == 0 then s.mu = s.mu + 0.1 * (mean / max(1, rr) - s.mu) end
  s.rr, s.pPrev = rr, rr
  local lo, hi = LO * exp(0.5 * se), HI * exp(1.5 * se)
  -- One round says it where it is beyond three errors; in slow start those are of a few replies.
  local once = min(2, hi * hi)
  if s.ss == 1 then once = max(2, exp(3 * min(wide, 0.6))) end
  if rr < 1.07 then s.baseOK, s.latLim = now, 0 end
  if rr <= hi then
    s.hot = 0
    if not young then s.bN = min(300, s.bN + s.n) end
    if s.peak >= 3 * START then s.sure = 1 end -- measured at a third of what it can do
  end
  if rr > hi and rr < once and s.hot == 0 then
    s.hot = 1 -- one round above is noise until the next one agrees
  elseif rr > hi then
    cut_latency(p, rr, hi)
  elseif rr < lo or s.ss == 1 or now - s.hotT > 20 then
    if rr < 1.05 or s.L >= s.serL then s.serL = 0 end
    if s.peak >= 0.8 * floor(s.L) and gains(mean, noise) then grow() end
  else
    s.latLim, s.boost, s.ss = s.latLim + 1, 1, 0
  end
  -- A lane that few requests fill began with a queue, and may have taken it for none.
  local small = s.latLim > 0 and s.L < 5.5 and s.mu < 0.5 and now - s.prbT > s.prbH
  local refused = s.L >= 3 and s.L <= s.ceil and s.fb < 0.01 -- it may queue some before that
  if s.L >= 2 and (s.latLim > 3 and now - s.baseOK > 60 or s.sure == 0 and (s.latLim > 0 or refused) or small) then
    s.prb, s.prbL = 1, max(1, floor(s.L / 2))
  end
end

-- A round at less load tells what of the overload there is without us.
local function probed_overload()
  if s.prbO == 0 then return end
  s.prbO = 0
  local all = s.n + s.ov
  local share = s.ov / all
  s.fbOK = now
  if all * s.fb < 3 then return end -- too few to tell
  if share < 0.4 * s.fb then
    s.fb = share
    set(0.85 * s.L, 'its overload was not the background')
    s.ceil, s.hold = s.L, min(s.hold, 8)
    s.ceilU, s.okC = now + s.hold, 0
    s.ss, s.boost = 0, 1
  else
    s.fb = s.fb + 0.5 * (share - s.fb)
  end
end

-- Latency at half the load has fallen where it is below so much of the baseline.
local function fell_to()
  return min(0.8, exp(-2.5 * s.sd * sqrt(1 / s.n + 1 / s.bN)))
end

-- It may have: more replies will tell, unless there is overload to react to.
local function doubtful(p, elapsed, reacts)
  if reacts or s.prbO == 1 or s.n < 10 or s.n >= 40 or elapsed >= 60 then return false end
  local r = slower(p)
  return r < 0.8 and r >= fell_to()
end

-- A round at half the load measures the baseline. Where latency fell with the load, the
-- baseline had a queue in it, and may still: half again.
local function probed(p)
  s.prb, s.prbT = 0, now
  probed_overload()
  if s.n < 10 then return end
  local r = slower(p)
  local fell = r < fell_to()
  s.prbH = fell and 15 or min(120, 2 * s.prbH)
  if not fell then -- then it is as good as it has samples
    local weight = min(1, s.n / 30)
    p = {s.b1 + weight * (p[1] - s.b1), s.b2 + weight * (p[2] - s.b2),
      s.b3 + weight * (p[3] - s.b3), s.b4 + weight * (p[4] - s.b4)}
  end
  rebase(p, s.sum / s.n)
  s.bN, s.sure = s.n + (fell and 0 or s.bN), 1
  if fell and s.L > LOWEST then
    set(max(s.L * r, s.prbL), 'the baseline had a queue in it')
    s.refL, s.serL, s.ss = 0, 0, 0
    if s.prbL > 1 then s.prb, s.prbL = 1, max(1, floor(s.prbL / 2)) end
  end
end

local function decide()
  local elapsed, all = now - s.ws, s.n + s.ov
  local usual = all * s.fb
  local reacts = s.L > 1 and s.ov > 2 * usual + 2 * sqrt(usual) + 0.5
  if not closes(elapsed, reacts) then return end
  if all == 0 then
    if dead() and (s.bad >= 3 or s.peak >= 3 and s.peak >= 0.5 * s.L) then trip() else new_round() end
    return
  end
  s.rl = 0
  local share = s.ov / all
  if share >= 0.9 and (s.bad >= 3 and now - s.lastOK > quiet() or dead()) then
    trip()
    return
  end
  for b in pairs(s.h) do buckets[#buckets + 1] = tonumber(b) end
  table.sort(buckets)
  -- Three quantiles, and bounds of the last one: two errors of its rank above and below.
  local rank = 0.87 / sqrt(s.n)
  local p = {quantile(0.25), quantile(0.5), quantile(0.75), quantile(min(1, 0.75 + rank)), slow = quantile(0.75 - rank)}
  if s.prb == 1 then
    if doubtful(p, elapsed, reacts) then return end
    probed(p)
  else
    -- A storm is no background, nor is what a growing limit meets, nor what cuts may end.
    if share < 0.15 and (share <= s.fb or s.ss == 0 and (s.ceil == 0 or s.L <= s.ceil)
      and (not reacts or s.L <= 3 * START or not calm() and now - s.cutT > 3)) then
      s.fbN = s.fbN + 1
      s.fb = s.fb + max(0.1, 1 / (s.fbN + 3)) * (share - s.fb)
    end
    if s.fb < 0.02 then s.fbOK = now end
    if reacts then
      cut_overload(elapsed, share)
    elseif s.n >= 10 or s.base == 0 and s.n > 0 then
      by_latency(p)
    end
  end
  if s.fb >= 0.02 and now - s.fbOK > 10 and s.L >= 8 and s.prb == 0 then
    s.prb, s.prbO, s.prbL = 1, 1, floor(0.6 * s.L)
  end
  new_round()
  if s.again == 1 then s.again, s.settle = 0, 1.5 * s.b3 end
end

local limit
if s.st == OUTAGE then
  limit = 0
  if now >= s.openU then
    s.st, limit = PROBING, 1
    new_round()
  end
elseif s.st == PROBING then
  if s.n > 0 or answered > 0 then
    recover()
  elseif s.ov > 0 or now - s.ws > max(2, 4 * s.mu) then
    trip()
  end
elseif now >= s.pause and cfg.paused == 0 then
  s.peak = max(s.peak, all_busy)
  decide()
else
  s.ws, s.peak = now, 0
end
if cfg.limit > 0 then s.L, s.prb = cfg.limit, 0 end
if cfg.max > 0 then s.L = min(s.L, HIGHEST) end
s.L = max(s.L, LOWEST)
if s.st == OPEN then
  limit = s.prb == 1 and s.prbL or s.L
elseif s.st == PROBING then
  limit = 1
else
  limit = 0
end

-- ---- the share

-- The integer part of its share is everybody's; what remains are extras, which pass
-- from one to the next: so a limit below the number of workers serves all.
local function share_of(whole)
  local free = whole - others_have
  if all_wants <= whole then
    me[EXTRA] = 0
    return min(wants, free)
  end
  local given = 0
  for _, w in pairs(s.w) do given = given + floor(whole * w[WANTS] / all_wants) end
  local mine = floor(whole * wants / all_wants)
  if me[EXTRA] > 0 and now - me[EXTRA] > TURN then
    me[EXTRA], me[BARRED] = 0, now + 0.2
  elseif mine < wants and now > me[BARRED] and extras < whole - given and free > mine then
    if me[EXTRA] == 0 then me[EXTRA] = now end
    mine = mine + 1
  else
    me[EXTRA] = 0
  end
  return min(mine, free)
end

-- Exactly one probe in the cluster, once nobody holds a permit he does not use.
local function probe()
  for id, w in pairs(s.w) do
    if id ~= worker and w[HAS] > w[BUSY] then return 0 end
  end
  if wants == 0 or s.prober == s.ep then return 0 end
  s.prober = s.ep
  return busy + 1
end

local permits
if cfg.paused == 1 then
  permits = 0
elseif now < s.learn then
  permits = min(busy, wants)
elseif s.st == PROBING then
  permits = probe()
else
  permits = clamp(share_of(floor(limit + 1e-9)), 0, wants)
end
me[HAS] = max(permits, busy)

-- ---- tokens of the rate (GCRA), leased in chunks

local tokens, rate = -1, 0
if s.R > 0 then
  local whole, part = floor(limit + 1e-9), all_wants > 0 and wants / all_wants or 1
  if now >= s.learn and whole > 0 and all_wants > whole then
    part = min(1, permits / whole) -- tokens are for those who have permits
  end
  rate = s.R * part
  local burst = cfg.burst > 0 and cfg.burst or max(1, s.R * 2 * interval)
  local need = part > 0 and max(1, ceil(s.R * interval * 1.2 * part)) or 0
  -- Where they are few, one that waits for a permit would be missing elsewhere.
  if s.R * interval < 1 and busy >= permits then need = 0 end
  -- Slots that are all wanted are used more than once until the next call.
  if wants < slots then need = min(need, wants) end
  s.tat = max(s.tat, now)
  if now < s.pEnd then -- who has refused may have no room for a burst after the pause
    s.tat = max(s.tat, s.pEnd + max(0, burst / s.R - interval))
  end
  local have = floor((now - s.tat) * s.R + burst + 1e-9)
  if have < need and busy < permits then s.rl = 1 end -- not where the limit is what holds
  tokens = clamp(have, 0, need)
  if now < s.pause or cfg.paused == 1 then tokens = 0 end
  s.tat = s.tat + tokens / s.R
end

-- ---- keep it, show it, answer

local state, wait = s.st, 0
if cfg.paused == 1 then
  state = HELD
elseif s.st == OUTAGE then
  wait = s.openU - now
elseif now < s.pause then
  state, wait = PAUSED, s.pause - now
end
s.held = cfg.paused
if s.held ~= was.held then why = s.held == 1 and 'paused by the operator' or 'resumed by the operator' end
if why ~= '' then s.why, s.whyT = why, now end

redis.call('SET', KEYS[1], pack(s), 'PX', string.format('%.0f', (KEEP + max(0, s.pause - now)) * 1000))
local function ms(x) return floor(x * 1000 + 0.5) end
if not raw or why ~= '' or floor(was.L) ~= floor(s.L) or was.st ~= s.st or floor(was.R) ~= floor(s.R) then
  redis.call('HSET', KEYS[2], 'limit', floor(s.L), 'from', floor(was.L), 'why', s.why, 'state', state,
    'rate', string.format('%.2f', s.R), 'ratio', string.format('%.2f', s.rr), 'base_ms', ms(s.base),
    'pause', string.format('%.3f', s.pause), 'at', string.format('%.3f', now))
  redis.call('PEXPIRE', KEYS[2], KEEP * 1000)
end
return {permits, s.ep, ms(s.settle), tokens, ms(s.R), ms(rate), ms(wait), floor(s.L), state, floor(s.base * 1e6),
  ms(s.rr), ms(interval), ms(lease), why, floor(was.L)}
