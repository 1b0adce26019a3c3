-- within.lua: what asynqmon's scripts read tasks by, put before each of them.
-- Takes no keys and arguments of its own: those are the script's that follows.
-- Returns nothing itself. within(key, field, ...) is HMGET of a task's fields while those
-- that the script has read are 8 MiB together; then, or for a single task that is larger,
-- it is a message that cannot be decoded, which asynqmon leaves out of its lists.
-- Changes nothing.
local left = 8388608
local function within(key, ...)
  local size = redis.call('HSTRLEN', key, 'msg') + redis.call('HSTRLEN', key, 'result')
  if size > left then
    return {'?', false, false}
  end
  left = left - size
  return redis.call('HMGET', key, ...)
end
