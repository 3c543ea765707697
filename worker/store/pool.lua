
-- ARGV: holder, ttl_ms, take -> 1 while KEYS[1], a slot, is the holder's; `take` 1 refuses what it holds already
local function hold(keys, args)
  local owner = redis.call('GET', keys[1])
  if owner and (owner ~= args[1] or args[3] == '1') then return 0 end
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return 1
end

-- ARGV: slot, ttl_ms. KEYS[1] lists the slots that somebody holds or held, and did not give back.
local function enlist(keys, args)
  redis.call('SADD', keys[1], args[1])
  return redis.call('PEXPIRE', keys[1], args[2])
end

-- ARGV: holder. Gives back a slot, unless it is another's.
local function release(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  return redis.call('DEL', keys[1])
end

-- ARGV: ttl_ms, field, value, ... -> {seconds, micros, field, value, ...}: everybody's flow and the clock of its server
local function exchange(keys, args)
  for i = 2, #args, 2 do redis.call('HSET', keys[1], args[i], args[i + 1]) end
  if #args > 1 then redis.call('PEXPIRE', keys[1], args[1]) end
  local out = redis.call('TIME')
  for _, each in ipairs(redis.call('HGETALL', keys[1])) do table.insert(out, each) end
  return out
end

-- ARGV: value, ttl_ms -> what KEYS[1] holds; where it holds nothing, the value from now on
local function epoch(keys, args)
  local kept = redis.call('GET', keys[1])
  if not kept then redis.call('SET', keys[1], args[1], 'PX', args[2]) end
  return kept or args[1]
end

-- What INFO says under a name, as far as it fits the pattern; '' where a server does not tell it.
local function told_of(info, name, pattern)
  local _, at = string.find(info, name .. ':', 1, true)
  return at and string.match(info, pattern, at + 1) or ''
end

-- -> {what KEYS[1] holds, if it is given, keys evicted so far, replication id}
local function watch(keys)
  local info = redis.call('INFO', 'replication', 'stats')
  local evicted = told_of(info, 'evicted_keys', '^%d+')
  local value = keys[1] and redis.call('GET', keys[1]) or false
  return { value, evicted == '' and '0' or evicted, told_of(info, 'master_replid', '^%w+') }
end

-- ARGV: value, ttl_ms. Where KEYS[1] holds it.
local function prolong(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  return redis.call('PEXPIRE', keys[1], args[2])
end

-- ARGV: event time, ttl_ms -> the highest that anybody told
local function top(keys, args)
  local highest = us(math.max(tonumber(redis.call('GET', keys[1])) or -1, tonumber(args[1])))
  redis.call('SET', keys[1], highest, 'PX', args[2])
  return highest
end

-- ARGV: ttl_ms, anchor, ... KEYS[1] lists the woken anchors of one worker.
local function wake(keys, args)
  for i = 2, #args do redis.call('RPUSH', keys[1], args[i]) end
  return redis.call('PEXPIRE', keys[1], args[1])
end

register('fusion_epoch_VERSION', epoch)
register('fusion_watch_VERSION', watch)
register('fusion_prolong_VERSION', prolong)
register('fusion_top_VERSION', top)
register('fusion_wake_VERSION', wake)
register('fusion_hold_VERSION', hold)
register('fusion_enlist_VERSION', enlist)
register('fusion_release_VERSION', release)
register('fusion_exchange_VERSION', exchange)
