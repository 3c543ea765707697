
local function less_in_bytes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- On time is what comes after W; without lateness also an event of the highest instant, in the order of the ids: `e.top`
-- is the last of that instant. (Lua compares strings by the server's locale, Redis by their bytes.)
local function is_late(keys, e, member, time, lateness)
  if lateness > 0 or time ~= e.h then return time <= e.h - lateness end
  e.top = e.top or redis.call('ZREVRANGEBYSCORE', keys[1], us(time), us(time), 'LIMIT', 0, 1)[1]
  return e.top and less_in_bytes(member, e.top)
end

local function up_to(keys, w, most) return redis.call('ZRANGEBYSCORE', keys[4], '-inf', w, 'LIMIT', 0, most) end

-- An event that later ones have overtaken may be the nearest of anchors before it, which then wait for W to pass it and
-- no longer. Of a few: the others learn of it when they would have been complete without it.
local MOST_HURRIED = 100
local function hurry(keys, time, after)
  local until_w = us(time + after + 1)
  local waiters = redis.call('ZRANGEBYSCORE', keys[4], '(' .. us(time), until_w, 'LIMIT', 0, MOST_HURRIED)
  for _, waiter in ipairs(waiters) do redis.call('ZADD', keys[4], us(time), waiter) end
end

-- A field too wide for a packed list makes Redis keep the hash as a table from its first record on. A list is passed over
-- at each look-up: of half a minute of video that was half of what a frame cost the server.
local WIDE = 65

-- Puts in what is new -> how many are late, and the time before which the last two lie: one clock that is ahead, or
-- behind, for one event says nothing of what is old.
local function put(keys, e, args, lateness, after)
  local late, agreed, scores, places = 0, 0, {}, 0
  if e.n == 0 then redis.call('HSET', keys[2], '', string.rep(' ', WIDE)) end
  for i = 8, #args, 2 do
    local member, record = args[i], args[i + 1]
    local text = string.sub(member, 1, 16)
    local time = tonumber(text)
    if redis.call('HSETNX', keys[2], member, record) == 1 then
      scores[places + 1], scores[places + 2], places = text, member, places + 2
      if is_late(keys, e, member, time, lateness) then
        late = late + 1
      elseif time >= e.h then
        e.top = member
      end
      e.b = e.b + #record
      if time < e.h and after and e.w > 0 then hurry(keys, time, after) end
    end
    agreed = e.l < 0 and time or math.min(time, e.l)
    e.l = time
    if time > e.h then e.h = time end
  end
  e.n = e.n + places / 2
  in_parts(scores, function(...) redis.call('ZADD', keys[1], ...) end)
  return late, agreed
end

-- ARGV: lateness, keep_us, max_events, max_bytes, ttl_ms, after (of nearest; else ''), most_told, and of each event
-- member, record -> {how many are late, W, woken waiters...}
-- All events of a key in one call: a server that gets full on the way would take a later one and refuse one before it.
-- The notes stay until their waiters were told: a worker killed in between has not committed these events, and whoever
-- reads them again gets them again.
local function index(keys, args)
  local e = open(keys)
  if not e then return broken() end
  local late, agreed = put(keys, e, args, tonumber(args[1]), tonumber(args[6]))
  trim(keys, e, before_time(keys, agreed - tonumber(args[2])), 'horizon')
  local over = e.n - tonumber(args[3])
  if over > 0 then trim(keys, e, redis.call('ZRANGE', keys[1], 0, over - 1), 'max_events_per_key') end
  while e.b > tonumber(args[4]) and e.n > 1 do
    trim(keys, e, redis.call('ZRANGE', keys[1], 0, 0), 'max_bytes_per_key')
  end
  close(keys, e, args[5])
  local w = us(e.h - tonumber(args[1]))
  local out = e.w > 0 and up_to(keys, w, args[7]) or {}
  table.insert(out, 1, w)
  table.insert(out, 1, late)
  return out
end

-- ARGV: time, reach_us, needed -> highest. For a server too full to take an event of that time: what the anchors from
-- `needed` on cannot want goes; where it is '', what lies `reach_us` before this event and the one before it.
local function relieve(keys, args)
  local e = open(keys)
  if not e then return broken() end
  local newest = e.l < 0 and tonumber(args[1]) or math.min(tonumber(args[1]), e.l)
  trim(keys, e, before_time(keys, tonumber(args[3]) or newest - tonumber(args[2])), 'maxmemory')
  close(keys, e)
  return us(e.h)
end

-- ARGV: W, most_told, waiter, ... These have been told, unless they wait anew since -> the next ones that W wakes
local function told(keys, args)
  local e = open(keys)
  if not e then return broken() end
  for i = 3, #args do
    local at = redis.call('ZSCORE', keys[4], args[i])
    if at and tonumber(at) <= tonumber(args[1]) then e.w = e.w - redis.call('ZREM', keys[4], args[i]) end
  end
  close(keys, e)
  return up_to(keys, args[1], args[2])
end

-- ARGV: ttl_ms, anchor, ... KEYS[1] lists the woken anchors of one worker.
local function wake(keys, args)
  for i = 2, #args do redis.call('RPUSH', keys[1], args[i]) end
  return redis.call('PEXPIRE', keys[1], args[1])
end

redis.register_function('fusion_index_VERSION', index)
register('fusion_index_needed_VERSION', index)
register('fusion_relieve_VERSION', relieve)
register('fusion_told_VERSION', told)
register('fusion_wake_VERSION', wake)
