#!lua name=fusion_align_VERSION
--[[ Keys of one (stream, entity); all share the entity's hash tag {t}, so a call touches one slot.
  KEYS[1]  <prefix>:<epoch>:{t}:<stream>:z   ZSET   member -> event time (us); member = 16 digits of time, ':', event id
  KEYS[2]  <prefix>:<epoch>:{t}:<stream>:p   HASH   member -> record as it came (see codec.py)
  KEYS[3]  <prefix>:<epoch>:{t}:<stream>:m   HASH   h: highest event time; b: bytes kept; t: highest time trimmed away; r: which bound did it;
                                            a: anchor partition; s: a second one
  KEYS[4]  <prefix>:<epoch>:{t}:<stream>:q   ZSET   "<worker>|<anchor>" -> the W at which asking again may complete it
  KEYS[5]  <prefix>:<epoch>:{t}:<stream>:c   HASH   member -> the anchor that claims its dead letter
Elsewhere: <prefix>:epoch, <prefix>:flow:<epoch> (HASH), <prefix>:wake:<worker> (LIST), <prefix>:slot:<n>, <prefix>:slots (SET).
Times are integers below 2^53, exact in Lua's doubles. The rule is CONTRACT section 5; W = h - lateness. ]]

local function us(number) return string.format('%.0f', number) end
local function time_of(member) return tonumber(string.sub(member, 1, 16)) end

local function remember(keys, ttl_ms)
  for i = 1, 4 do redis.call('PEXPIRE', keys[i], ttl_ms) end
end

-- Removes members, the oldest first, with their claims, and remembers up to where and why.
local function trim(keys, members, bound)
  local freed = 0
  for _, member in ipairs(members) do
    freed = freed + redis.call('HSTRLEN', keys[2], member)
    redis.call('HDEL', keys[2], member)
    redis.call('ZREM', keys[1], member)
    redis.call('HDEL', keys[5], member)
  end
  if #members > 0 then
    redis.call('HINCRBY', keys[3], 'b', -freed)
    local upto = time_of(members[#members])
    local before = tonumber(redis.call('HGET', keys[3], 't') or '-1')
    if upto > before then redis.call('HSET', keys[3], 't', us(upto), 'r', bound) end
  end
end

-- On time is what comes after W; without lateness also an event of the highest instant, in the order of the ids.
local function is_late(keys, member, time, highest, lateness)
  if lateness > 0 or time ~= highest then return time <= highest - lateness end
  return redis.call('ZREVRANGEBYSCORE', keys[1], us(time), us(time), 'LIMIT', 0, 1)[1] ~= member
end

-- ARGV: member, time, record, lateness, keep_us, max_events, max_bytes, ttl_ms -> {late, W, woken waiters...}
-- The notes stay until their waiters were told: a worker killed in between has not committed this event, and whoever
-- reads it again gets them again.
local function index(keys, args)
  local member, time = args[1], tonumber(args[2])
  local highest = tonumber(redis.call('HGET', keys[3], 'h') or '-1')
  local late = 0
  if redis.call('HSETNX', keys[2], member, args[3]) == 1 then
    redis.call('ZADD', keys[1], us(time), member)
    if is_late(keys, member, time, highest, tonumber(args[4])) then late = 1 end
    redis.call('HINCRBY', keys[3], 'b', string.len(args[3]))
  end
  if time > highest then
    highest = time
    redis.call('HSET', keys[3], 'h', us(time))
  end
  trim(keys, redis.call('ZRANGEBYSCORE', keys[1], '-inf', '(' .. us(highest - tonumber(args[5]))), 'horizon')
  local over = redis.call('ZCARD', keys[1]) - tonumber(args[6])
  if over > 0 then trim(keys, redis.call('ZRANGE', keys[1], 0, over - 1), 'max_events_per_key') end
  while tonumber(redis.call('HGET', keys[3], 'b') or '0') > tonumber(args[7]) and redis.call('ZCARD', keys[1]) > 1 do
    trim(keys, redis.call('ZRANGE', keys[1], 0, 0), 'max_bytes_per_key')
  end
  local w = us(highest - tonumber(args[4]))
  local out = { late, w }
  for _, waiter in ipairs(redis.call('ZRANGEBYSCORE', keys[4], '-inf', w)) do table.insert(out, waiter) end
  remember(keys, args[8])
  return out
end

-- ARGV: time, keep_us. What indexing an event of that time would take away; for a server too full to take it.
local function relieve(keys, args)
  trim(keys, redis.call('ZRANGEBYSCORE', keys[1], '-inf', '(' .. us(tonumber(args[1]) - tonumber(args[2]))), 'horizon')
end

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

-- The W from which asking again may complete a match that is open at w. Past the anchor's time the next event may
-- be the nearest one and so end the wait before `needed` does: then any step of W is worth a question.
local function ask_again_at(mode, at, w, needed)
  if mode ~= 'nearest' then return needed end
  return math.max(at, w + 1)
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

-- ARGV: mode, anchor, before, after, lateness, limit, waiter, ttl_ms, last (1: nobody has to wake the waiter any more)
-- -> {complete, highest, bound, other anchor partition, members...}
local function match(keys, args)
  local mode, at = args[1], tonumber(args[2])
  local low, high = at - tonumber(args[3]), at + tonumber(args[4])
  local highest = tonumber(redis.call('HGET', keys[3], 'h') or '-1')
  local w = highest < 0 and -1 or highest - tonumber(args[5])
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
  local complete = highest >= 0 and w >= needed
  if args[9] == '1' then
    redis.call('ZREM', keys[4], args[7])
  elseif not complete then
    redis.call('ZADD', keys[4], us(ask_again_at(mode, at, w, needed)), args[7])
    redis.call('PEXPIRE', keys[4], args[8])
  end
  local other = elsewhere(keys, args[7])
  redis.call('PEXPIRE', keys[3], args[8])
  local trimmed = tonumber(redis.call('HGET', keys[3], 't') or '-1')
  local bound = ''
  if trimmed >= 0 and trimmed >= low then bound = redis.call('HGET', keys[3], 'r') end
  local out = { complete and 1 or 0, highest < 0 and '' or us(highest), bound, other }
  for _, member in ipairs(chosen) do table.insert(out, member) end
  return out
end

-- ARGV: member, anchor, ttl_ms -> 1 for the first anchor that claims this event, and for it alone
local function claim(keys, args)
  redis.call('HSETNX', keys[5], args[1], args[2])
  redis.call('PEXPIRE', keys[5], args[3])
  return redis.call('HGET', keys[5], args[1]) == args[2] and 1 or 0
end

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

-- In a full server only new events are refused: matching and leases go on, since they are what empties it.
local function register(name, callback)
  redis.register_function { function_name = name, callback = callback, flags = { 'allow-oom' } }
end

redis.register_function('fusion_index_VERSION', index)
register('fusion_relieve_VERSION', relieve)
register('fusion_match_VERSION', match)
register('fusion_claim_VERSION', claim)
register('fusion_hold_VERSION', hold)
register('fusion_enlist_VERSION', enlist)
register('fusion_release_VERSION', release)
register('fusion_exchange_VERSION', exchange)
