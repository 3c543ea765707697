
-- ARGV: ttl_ms, field, value, ... -> {seconds, micros, field, value, ...}: everybody's flow and the clock of its server
local function exchange(keys, args)
  for i = 2, #args, 2 do redis.call('HSET', keys[1], args[i], args[i + 1]) end
  if #args > 1 then redis.call('PEXPIRE', keys[1], args[1]) end
  local out = redis.call('TIME')
  for _, each in ipairs(redis.call('HGETALL', keys[1])) do table.insert(out, each) end
  return out
end

register('fusion_exchange_VERSION', exchange)
