-- enqueue.lua: enqueue tasks into the list of a priority, in order, as asynq does one into its
-- own, and tell the gates.
-- KEYS[1] the list  KEYS[2] asynq:{LANE}:t: (the rest of each task's key is its ID; a key, so that
-- a Cluster that moves the lane's slot just now asks to try again)
-- ARGV[1] the priority, or nothing for the normal one
-- ARGV[2] the gates' channel  ARGV[3] what they are told
-- ARGV[4...] for each task: its message, its ID, now (ns)
-- Returns how many were enqueued: none of an ID that is taken.
-- Retry: the IDs are taken then, by these very tasks.
local new, ids = {}, {}
for i = 4, #ARGV, 3 do
  if redis.call('EXISTS', KEYS[2] .. ARGV[i + 1]) == 0 then
    new[#new + 1], ids[#ids + 1] = i, ARGV[i + 1]
  end
end
if #ids > 0 then
  redis.call('LPUSH', KEYS[1], unpack(ids)) -- first: it fails where the list is something else
end
for _, i in ipairs(new) do
  local key = KEYS[2] .. ARGV[i + 1]
  if ARGV[1] == '' then
    redis.call('HSET', key, 'msg', ARGV[i], 'state', 'pending', 'pending_since', ARGV[i + 2])
  else
    redis.call('HSET', key, 'msg', ARGV[i], 'state', 'pending', 'pending_since', ARGV[i + 2], 'priority', ARGV[1])
  end
end
redis.pcall('PUBLISH', ARGV[2], ARGV[3]) -- one that is lost costs a second
return #ids
