-- enqueue.lua: enqueue tasks into the list of a priority, in order, as asynq does one into its
-- own, and tell the gates.
-- KEYS[1] the list
-- ARGV[1] asynq:{LANE}:t:  ARGV[2] the priority, or nothing for the normal one
-- ARGV[3] the gates' channel  ARGV[4] what they are told
-- ARGV[5...] for each task: its message, its ID, now (ns)
-- Returns how many were enqueued: none of an ID that is taken.
-- Retry: the IDs are taken then, by these very tasks.
local ids = {}
for i = 5, #ARGV, 3 do
  local key = ARGV[1] .. ARGV[i + 1]
  if redis.call('EXISTS', key) == 0 then
    if ARGV[2] == '' then
      redis.call('HSET', key, 'msg', ARGV[i], 'state', 'pending', 'pending_since', ARGV[i + 2])
    else
      redis.call('HSET', key, 'msg', ARGV[i], 'state', 'pending', 'pending_since', ARGV[i + 2], 'priority', ARGV[2])
    end
    ids[#ids + 1] = ARGV[i + 1]
  end
end
if #ids > 0 then
  redis.call('LPUSH', KEYS[1], unpack(ids))
end
redis.pcall('PUBLISH', ARGV[3], ARGV[4]) -- one that is lost costs a second
return #ids
