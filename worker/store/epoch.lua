
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

-- ARGV: form, ttl_ms -> the form that the group's keys have: the given one from now on, where nobody holds another
local function form(keys, args)
  local kept = redis.call('GET', keys[1])
  if kept and kept ~= args[1] then return kept end
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return args[1]
end

register('fusion_epoch_VERSION', epoch)
register('fusion_watch_VERSION', watch)
register('fusion_prolong_VERSION', prolong)
register('fusion_form_VERSION', form)
