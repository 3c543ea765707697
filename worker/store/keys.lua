#!lua name=fusion_VERSION
--[[ One library, of all files of this folder. Keys of one (stream, entity); all share the entity's hash tag {t}, so a
call touches one slot. The parts of an entity live and expire together.
  KEYS[1]  <prefix>:<epoch>:{t}:<stream>:z   ZSET   member -> event time (us); member = 16 digits of time, ':', event id
  KEYS[2]  <prefix>:<epoch>:{t}:<stream>:p   HASH   member -> record as it came (see codec.py); and if there is any, '' -> blanks
  KEYS[3]  <prefix>:<epoch>:{t}:<stream>:m   HASH   h: highest event time; l: time of the event indexed last; b: bytes kept;
                                            t: highest time trimmed away; r: which bound did it; a: anchor partition;
                                            s: a second one; n, w, k: how many lie in z and p, in q, in c
  KEYS[4]  <prefix>:<epoch>:{t}:<stream>:q   ZSET   "<worker>|<anchor>" -> the W at which asking again may complete it
  KEYS[5]  <prefix>:<epoch>:{t}:<stream>:c   HASH   member -> the anchor that claims its dead letter
Elsewhere: <prefix>:epoch, <prefix>:form, <prefix>:flow:<epoch> (HASH), <prefix>:wake:<worker> (LIST),
<prefix>:slot:<n>, <prefix>:slots (SET).
Times are integers below 2^53, exact in Lua's doubles. The rule is CONTRACT section 5; W = h - lateness. ]]

local function us(number) return string.format('%.0f', number) end
local function time_of(member) return tonumber(string.sub(member, 1, 16)) end

-- In a full server only new events are refused: matching and leases go on, since they are what empties it.
local function register(name, callback)
  redis.register_function { function_name = name, callback = callback, flags = { 'allow-oom' } }
end

local function broken() return redis.error_reply('PARTS of a key do not fit together: some were evicted or deleted') end

local NUMBERS = { 'h', 'l', 'b', 't', 'n', 'w', 'k' }
local UNSET = { h = -1, l = -1, b = 0, t = -1, n = 0, w = 0, k = 0 }

-- What lies under the keys; nil when a part was lost, so that nothing is answered from the rest.
local function open(keys)
  local m = redis.call('HMGET', keys[3], 'h', 'l', 'b', 't', 'n', 'w', 'k', 'r', 'a', 's')
  local e = { r = m[8] or '', a = m[9], s = m[10], was = {} }
  for i, name in ipairs(NUMBERS) do
    e[name] = tonumber(m[i]) or UNSET[name]
    e.was[name] = e[name]
  end
  local fits = redis.call('ZCARD', keys[1]) == e.n and redis.call('HLEN', keys[2]) == (e.n > 0 and e.n + 1 or 0)
  if e.w == 0 and e.k == 0 then
    fits = fits and redis.call('EXISTS', keys[4], keys[5]) == 0
  else
    fits = fits and redis.call('ZCARD', keys[4]) == e.w and redis.call('HLEN', keys[5]) == e.k
  end
  return fits and e or nil
end

-- All parts get one end of life. It is written again once it is 5 s old, or for a part that is new: 5 s less is nothing
-- to what is kept, and five commands are a quarter of a call.
local function touch(keys, e, ttl_ms)
  local new = e.n > 0 and e.was.n == 0 or e.w > 0 and e.was.w == 0 or e.k > 0 and e.was.k == 0
  if not new and redis.call('PTTL', keys[3]) > tonumber(ttl_ms) - 5000 then return end
  for i = 1, 5 do redis.call('PEXPIRE', keys[i], ttl_ms) end
end

local function close(keys, e, ttl_ms)
  local m = {}
  for _, name in ipairs(NUMBERS) do
    if e[name] ~= e.was[name] then
      m[#m + 1], m[#m + 2] = name, us(e[name])
    end
  end
  if e.t ~= e.was.t then m[#m + 1], m[#m + 2] = 'r', e.r end
  if #m > 0 then redis.call('HSET', keys[3], unpack(m)) end
  if ttl_ms then touch(keys, e, ttl_ms) end
end

-- What one command is given at once: Lua's stack holds 8,000.
local MOST_AT_ONCE = 1000
local function in_parts(list, act)
  for from = 1, #list, MOST_AT_ONCE do act(unpack(list, from, math.min(from + MOST_AT_ONCE - 1, #list))) end
end

-- Removes members, the oldest first, with their claims, and remembers up to where and why.
local function trim(keys, e, members, bound)
  in_parts(members, function(...)
    for _, record in ipairs(redis.call('HMGET', keys[2], ...)) do e.b = e.b - #record end
    redis.call('HDEL', keys[2], ...)
    redis.call('ZREM', keys[1], ...)
    if e.k > 0 then e.k = e.k - redis.call('HDEL', keys[5], ...) end
  end)
  e.n = e.n - #members
  if e.n == 0 then redis.call('DEL', keys[2]) end
  if #members > 0 and time_of(members[#members]) > e.t then e.t, e.r = time_of(members[#members]), bound end
end

local function before_time(keys, time) return redis.call('ZRANGEBYSCORE', keys[1], '-inf', '(' .. us(time)) end
