
-- On time is what comes after W; without lateness also an event of the highest instant, in the order of the ids.
local function is_late(keys, member, time, highest, lateness)
  if lateness > 0 or time ~= highest then return time <= highest - lateness end
  return redis.call('ZREVRANGEBYSCORE', keys[1], us(time), us(time), 'LIMIT', 0, 1)[1] ~= member
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

-- ARGV: lateness, keep_us, max_events, max_bytes, ttl_ms, after (of nearest; else ''), most_told, and of each event
-- member, time, record -> {how many are late, W, woken waiters...}
-- All events of a key in one call: a server that gets full on the way would take a later one and refuse one before it.
-- Old is what lies `keep_us` before an event and before the one that came just before it: one clock that is ahead,
-- or behind, for one event takes nothing away.
-- The notes stay until their waiters were told: a worker killed in between has not committed these events, and whoever
-- reads them again gets them again.
local function put(keys, e, args, member, time, record)
  local late = 0
  if redis.call('HSETNX', keys[2], member, record) == 1 then
    redis.call('ZADD', keys[1], us(time), member)
    if is_late(keys, member, time, e.h, tonumber(args[1])) then late = 1 end
    e.n, e.b = e.n + 1, e.b + string.len(record)
    if time < e.h and args[6] ~= '' then hurry(keys, time, tonumber(args[6])) end
  end
  local agreed = e.l < 0 and time or math.min(time, e.l)
  e.l, e.h = time, math.max(time, e.h)
  trim(keys, e, before_time(keys, agreed - tonumber(args[2])), 'horizon')
  local over = e.n - tonumber(args[3])
  if over > 0 then trim(keys, e, redis.call('ZRANGE', keys[1], 0, over - 1), 'max_events_per_key') end
  while e.b > tonumber(args[4]) and e.n > 1 do
    trim(keys, e, redis.call('ZRANGE', keys[1], 0, 0), 'max_bytes_per_key')
  end
  return late
end

local function index(keys, args)
  local e, late = open(keys), 0
  if not e then return broken() end
  for i = 8, #args, 3 do late = late + put(keys, e, args, args[i], tonumber(args[i + 1]), args[i + 2]) end
  close(keys, e, args[5])
  local w = us(e.h - tonumber(args[1]))
  local out = { late, w }
  for _, waiter in ipairs(up_to(keys, w, args[7])) do table.insert(out, waiter) end
  return out
end

-- ARGV: time, reach_us, needed -> highest. For a server too full to take an event of that time: what the anchors from
-- `needed` on cannot want goes; where it is '', what lies `reach_us` before this event and the one before it.
local function relieve(keys, args)
  local e = open(keys)
  if not e then return broken() end
  local newest = e.l < 0 and tonumber(args[1]) or math.min(tonumber(args[1]), e.l)
  trim(keys, e, before_time(keys, tonumber(args[3]) or newest - tonumber(args[2])), 'maxmemory')
  if e.h >= 0 then close(keys, e) end
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
  if e.w ~= e.was_w then close(keys, e) end
  return up_to(keys, args[1], args[2])
end

-- ARGV: member, anchor, ttl_ms -> 1 for the first anchor that claims this event, and for it alone
local function claim(keys, args)
  local e = open(keys)
  if not e then return broken() end
  e.k = e.k + redis.call('HSETNX', keys[5], args[1], args[2])
  close(keys, e, args[3])
  return redis.call('HGET', keys[5], args[1]) == args[2] and 1 or 0
end

-- ARGV: from, ttl_ms. Prolongs what an anchor from that time on may want, or waits for.
local function renew(keys, args)
  local e = open(keys)
  if not e then return broken() end
  if e.h >= math.max(0, tonumber(args[1])) or e.w > 0 then close(keys, e, args[2]) end
end

redis.register_function('fusion_index_VERSION', index)
register('fusion_index_needed_VERSION', index)
register('fusion_relieve_VERSION', relieve)
register('fusion_renew_VERSION', renew)
register('fusion_told_VERSION', told)
register('fusion_claim_VERSION', claim)
