
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
local function elsewhere(keys, waiter)
  local here = string.match(waiter, '/(%d+)/%d+$')
  if not here then return '' end
  local known = redis.call('HGET', keys[3], 'a')
  if not known then redis.call('HSET', keys[3], 'a', here) end
  if not known or known == here or redis.call('HSETNX', keys[3], 's', here) == 0 then return '' end
  return known
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

-- ARGV: mode, anchor, before, after, lateness, limit, waiter, ttl_ms, last (1: nobody has to wake the waiter any more)
-- -> {complete, highest, bound, other anchor partition, members...}
local function match(keys, args)
  local e = open(keys)
  if not e then return broken() end
  local mode, at = args[1], tonumber(args[2])
  local low, high = at - tonumber(args[3]), at + tonumber(args[4])
  local w = e.h < 0 and -1 or e.h - tonumber(args[5])
  local chosen, needed = {}, high + 1
  if mode == 'nearest' then
    chosen[1] = nearest(keys, at, low, high)
    if chosen[1] then needed = math.min(needed, at + math.abs(time_of(chosen[1]) - at)) end
  elseif mode == 'latest' then
    chosen[1] = latest(keys, at, low)
    needed = at
  else
    chosen = window(keys, at, low, high, tonumber(args[6]))
  end
  local complete = e.h >= 0 and w >= needed
  if args[9] == '1' then
    e.w = e.w - redis.call('ZREM', keys[4], args[7])
  elseif not complete then
    e.w = e.w + redis.call('ZADD', keys[4], us(ask_again_at(mode, at, w, needed)), args[7])
  end
  local bound = cost(e, at, low, chosen, mode == 'window' and tonumber(args[6]) or 1)
  local out = { complete and 1 or 0, e.h < 0 and '' or us(e.h), bound, elsewhere(keys, args[7]) }
  for _, member in ipairs(chosen) do table.insert(out, member) end
  if e.w ~= e.was_w then redis.call('HSET', keys[3], 'w', e.w) end
  touch(keys, e, args[8])
  return out
end

register('fusion_match_VERSION', match)
