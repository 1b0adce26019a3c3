-- rights.lua: which of these commands may this user not run? None is run.
-- KEYS[1] the key that they name: in a cluster its master is asked
-- From the first argument on: commands, with their arguments, parted by blanks.
-- Returns the names of those that are refused. Fails before Redis 7, which cannot tell.
if not redis.acl_check_cmd then
  return redis.error_reply('ERR there is no acl_check_cmd')
end
local refused = {}
for i = 1, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do
    words[#words + 1] = word
  end
  if not redis.acl_check_cmd(unpack(words)) then
    refused[#refused + 1] = words[1]
  end
end
return refused
