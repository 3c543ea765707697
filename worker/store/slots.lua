
-- ARGV: holder, ttl_ms, take -> 1 while KEYS[1], a slot or the pass over all keys, is the holder's; `take` 1 refuses
-- what it holds already
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

-- ARGV: value. Ends KEYS[1] where it holds that: a slot of this holder, or an epoch that is over.
local function release(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  return redis.call('DEL', keys[1])
end

register('fusion_hold_VERSION', hold)
register('fusion_enlist_VERSION', enlist)
register('fusion_release_VERSION', release)
