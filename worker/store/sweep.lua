
-- ARGV: event time, ttl_ms -> the highest that anybody told
local function top(keys, args)
  local highest = us(math.max(tonumber(redis.call('GET', keys[1])) or -1, tonumber(args[1])))
  redis.call('SET', keys[1], highest, 'PX', args[2])
  return highest
end

-- ARGV: from, ttl_ms. Prolongs what an anchor from that time on may want, or waits for.
local function renew(keys, args)
  local e = open(keys)
  if not e then return broken() end
  if e.h >= math.max(0, tonumber(args[1])) or e.w > 0 then close(keys, e, args[2]) end
end

register('fusion_top_VERSION', top)
register('fusion_renew_VERSION', renew)
