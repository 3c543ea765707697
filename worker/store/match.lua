
-- Of the events of one instant the smallest id comes first, in byte order of the members.
local function first_at(keys, time)
  return redis.call('ZRANGEBYSCORE', keys[1], us(time), us(time), 'LIMIT', 0, 1)[1]
end

local function nearest(keys, at, low, high)
  local left = redis.call('ZREVRANGEBYSCORE', keys[1], us(at), us(low), 'LIMIT', 0, 1)[1]
  local right = redis.call('ZRANGEBYSCORE', keys[1], '(' .. us(at), us(high), 'LIMIT', 0, 1)[1]
  if left and (not right or at - time_of(left) <= time_of(right) - at) then return first_at(keys, time_of(left)) end
  return right
end

local function latest(keys, at, low)
  local left = redis.call('ZREVRANGEBYSCORE', keys[1], us(at), us(low), 'LIMIT', 0, 1)[1]
  return left and first_at(keys, time_of(left))
end

-- The `limit` nearest at or before `at`. Of the earliest instant, which LIMIT may cut, the smallest ids are taken.
local function before(keys, at, low, limit)
  local found = redis.call('ZREVRANGEBYSCORE', keys[1], us(at), us(low), 'LIMIT', 0, limit)
  if #found == 0 then return found end
  local earliest = time_of(found[#found])
  local ordered = redis.call('ZRANGEBYSCORE', keys[1], us(earliest), us(earliest), 'LIMIT', 0, limit)
  for i = #found, 1, -1 do
    if time_of(found[i]) > earliest then table.insert(ordered, found[i]) end
  end
  return ordered
end

-- Places in (time, id) order stand for the ids: Lua compares strings by the server's locale, Redis by their bytes.
local function window(keys, at, low, high, limit)
  local found = before(keys, at, low, limit)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', keys[1], '(' .. us(at), us(high), 'LIMIT', 0, limit)) do
    table.insert(found, member)
  end
  local places, distance = {}, {}
  for place, member in ipairs(found) do
    places[place], distance[place] = place, math.abs(time_of(member) - at)
  end
  table.sort(places, function(a, b)
    if distance[a] ~= distance[b] then return distance[a] < distance[b] end
    return a < b
  end)
  while #places > limit do table.remove(places) end
  table.sort(places)
  local chosen = {}
  for i, place in ipairs(places) do chosen[i] = found[place] end
  return chosen
end

-- The W from which asking again may complete a match that is open at w. Before the anchor's time the nearest event is
-- still to come; past it only one that is overtaken by later ones can be nearer, and `hurry` tells of that.
local function ask_again_at(mode, at, w, needed)
  if mode == 'nearest' and w < at then return at end
  return needed
end

-- The partition on which this key's anchors lie, from the waiter "<worker>|<topic>/<partition>/<offset>"; a second one
-- is told once a key.
local function elsewhere(keys, e, waiter)
  local here = string.match(waiter, '/(%d+)/%d+$')
  if not here or here == e.a then return '' end
  if not e.a then
    redis.call('HSET', keys[3], 'a', here)
    e.a = here
    return ''
  end
  if e.s then return '' end
  redis.call('HSET', keys[3], 's', here)
  e.s = here
  return e.a
end

-- The bound that may have cost this match, or ''. What was trimmed lay at e.t or before: if that is farther from the
-- anchor than all that is chosen, and no more than these would be, then nothing was lost.
local function cost(e, at, low, chosen, most)
  if e.t < low then return '' end
  local farthest = 0
  for _, member in ipairs(chosen) do farthest = math.max(farthest, math.abs(time_of(member) - at)) end
  if #chosen == most and at - e.t > farthest then return '' end
  return e.r
end

local function choose(keys, rule, at, low, high)
  if rule.mode == 'nearest' then return { nearest(keys, at, low, high) } end
  if rule.mode == 'latest' then return { latest(keys, at, low) } end
  return window(keys, at, low, high, rule.limit)
end

-- The W that completes what was chosen.
local function needed_for(rule, at, high, chosen)
  if rule.mode == 'latest' then return at end
  if rule.mode == 'nearest' and chosen[1] then
    return math.min(high + 1, at + math.abs(time_of(chosen[1]) - at))
  end
  return high + 1
end

-- -> {complete, highest, bound, other anchor partition, members...}
local function answer(keys, e, rule, at, waiter, last)
  local low, high = at - rule.before, at + rule.after
  local w = e.h < 0 and -1 or e.h - rule.lateness
  local chosen = e.n > 0 and choose(keys, rule, at, low, high) or {}
  local needed = needed_for(rule, at, high, chosen)
  local complete = e.h >= 0 and w >= needed
  if last == '1' then
    if e.w > 0 then e.w = e.w - redis.call('ZREM', keys[4], waiter) end
  elseif not complete then
    e.w = e.w + redis.call('ZADD', keys[4], us(ask_again_at(rule.mode, at, w, needed)), waiter)
  end
  local bound = cost(e, at, low, chosen, rule.mode == 'window' and rule.limit or 1)
  return { complete and 1 or 0, e.h < 0 and '' or us(e.h), bound, elsewhere(keys, e, waiter), unpack(chosen) }
end

-- Of one entity all its streams: KEYS five of each; ARGV: ttl_ms, and of each stream mode, before, after, lateness,
-- limit, n and n times anchor, waiter, last (1: nobody has to wake the waiter any more) -> what is answered to each
local function match(keys, args)
  local out, i = {}, 2
  for first = 1, #keys, 5 do
    local own = { keys[first], keys[first + 1], keys[first + 2], keys[first + 3], keys[first + 4] }
    local e = open(own)
    if not e then return broken() end
    local rule = {
      mode = args[i], before = tonumber(args[i + 1]), after = tonumber(args[i + 2]), lateness = tonumber(args[i + 3]),
      limit = tonumber(args[i + 4]),
    }
    local questions = tonumber(args[i + 5])
    i = i + 6
    for _ = 1, questions do
      out[#out + 1] = answer(own, e, rule, tonumber(args[i]), args[i + 1], args[i + 2])
      i = i + 3
    end
    close(own, e, args[1])
  end
  return out
end

-- ARGV: member, anchor, ttl_ms -> 1 for the first anchor that claims this event, and for it alone
local function claim(keys, args)
  local e = open(keys)
  if not e then return broken() end
  e.k = e.k + redis.call('HSETNX', keys[5], args[1], args[2])
  close(keys, e, args[3])
  return redis.call('HGET', keys[5], args[1]) == args[2] and 1 or 0
end

register('fusion_match_VERSION', match)
register('fusion_claim_VERSION', claim)
