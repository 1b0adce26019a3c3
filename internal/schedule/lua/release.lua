-- release.lua: free the daemons' lock.
-- KEYS[1] weir:{:schedules}:lock
-- ARGV[1] what it holds
-- Returns 1 when it is free now, 0 when it holds something else.
-- Retry: 0 then.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
