
-- ARGV: none. All events of an entity go, as if a bound had taken them: what they say of time (h, and so W) and who waits
-- stay, so that anchors that are decided meanwhile are answered, and told what they lack. Returns how many there were.
register('fusion_forget_VERSION', function(keys)
  local e = open(keys)
  if not e then return broken() end
  local count = e.n
  trim(keys, e, redis.call('ZRANGE', keys[1], 0, -1), 'forgotten')
  close(keys, e, nil)
  return count
end)
