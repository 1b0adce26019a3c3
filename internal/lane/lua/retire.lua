-- retire.lua: forget a lane, if it is idle and empty.
-- KEYS[1] weir:{LANE}:flow  KEYS[2] weir:{LANE}:flow:v  (its governor's state)
-- KEYS[3] asynq:{LANE}:processed  KEYS[4] asynq:{LANE}:failed  (asynq's counters, without an end)
-- KEYS[5...] what the lane has while anything is in it
-- ARGV[1] the longest that the state may still live (ms): one that was used just now lives longer
-- ARGV[2] 1 where asynq's counters go too
-- Returns 1, or 0 when it is neither idle nor empty: then nothing has changed.
-- Retry: what is gone stays so.
for i = 5, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
if ARGV[2] == '1' then redis.call('DEL', KEYS[3], KEYS[4]) end
return 1
