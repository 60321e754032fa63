"""Lua that runs in Redis. Every script uses only the keys that it is given. A key of a wrong type
affects only itself: `pcall` returns the error. Commands that the ACL of an older release does not
allow are called by `pcall` too; without them Redis keeps more than needed, within other limits.
"""

# Replace a view, unless the one there is newer, and return the seq that is stored then. The seq is
# the second field of the JSON that we write, so it is in the first 256 bytes. A seq above ARGV[4]
# is later than every clock, and is ignored.
PUBLISH = """
local stored = redis.pcall('GETRANGE', KEYS[1], 0, 255)
if type(stored) == 'table' then stored = '' end
local seq = tonumber(string.match(stored, '"seq":(%d+)') or '0')
if seq > tonumber(ARGV[1]) and seq <= tonumber(ARGV[4]) then return seq end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return tonumber(ARGV[1])
"""

# Add a name to a set, and make it live longer. Returns 1 if a key of a wrong type was replaced.
JOIN = """
local added = redis.pcall('SADD', KEYS[1], ARGV[1])
local wrong = type(added) == 'table' and string.find(added.err, 'WRONGTYPE') and 1 or 0
if wrong == 1 then
  redis.call('DEL', KEYS[1])
  redis.call('SADD', KEYS[1], ARGV[1])
elseif type(added) == 'table' then
  return added
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return wrong
"""

# Remove names from a set, if the ACL allows it.
LEAVE = """
for _, name in ipairs(ARGV) do redis.pcall('SREM', KEYS[1], name) end
return 0
"""

# The first ARGV[1] names of a set that are no longer than ARGV[2], and how many there are;
# -1 if the key is of a wrong type.
NAMES = """
local all = redis.pcall('SMEMBERS', KEYS[1])
if all.err then
  if string.find(all.err, 'WRONGTYPE') then return {-1, {}} end
  return all
end
local names = {}
for _, name in ipairs(all) do
  if #names >= tonumber(ARGV[1]) then break end
  if #name <= tonumber(ARGV[2]) then names[#names + 1] = name end
end
return {#all, names}
"""

# Take or renew a lease. A key of a wrong type is nobody's lease, and is replaced.
HOLD_LEASE = """
local holder = redis.pcall('GET', KEYS[1])
if holder == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if type(holder) == 'table' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""

DROP_LEASE = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# The newest ARGV[2] events later than ARGV[1], newest first: id, text. A text over ARGV[3]
# bytes is left out.
EVENTS = """
local found = redis.pcall('XREVRANGE', KEYS[1], '+', ARGV[1], 'COUNT', ARGV[2])
if found.err then
  if string.find(found.err, 'WRONGTYPE') then return {} end
  return found
end
local events = {}
for _, entry in ipairs(found) do
  local text = ''
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'event' then text = entry[2][i + 1] end
  end
  if #text > tonumber(ARGV[3]) then text = '' end
  events[#events + 1], events[#events + 2] = entry[1], text
end
return events
"""

# Remove a key that is no stream. Returns 1 if there was one.
MEND_EVENTS = """
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if not found.err or not string.find(found.err, 'WRONGTYPE') then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""

# Once there are more than ARGV[1] events, keep the newest of each kind only: ARGV[2] of each
# kind, but for the kinds whose names and numbers follow.
TRIM_EVENTS = """
local length = redis.pcall('XLEN', KEYS[1])
if type(length) == 'table' or length <= tonumber(ARGV[1]) then return 0 end
local bounds = {}
for i = 3, #ARGV, 2 do bounds[ARGV[i]] = tonumber(ARGV[i + 1]) end
local counts, gone = {}, {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-')) do
  local text = string.sub(entry[2][2] or '', 1, 256)
  local kind = string.match(text, '"kind":"(%l+)"') or ''
  counts[kind] = (counts[kind] or 0) + 1
  if counts[kind] > (bounds[kind] or tonumber(ARGV[2])) then gone[#gone + 1] = entry[1] end
end
for _, id in ipairs(gone) do
  if type(redis.pcall('XDEL', KEYS[1], id)) == 'table' then return 0 end
end
return #gone
"""

# Append an event, unless the newest 200 have one that says the same.
LOG_ONCE = """
local newest = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 200)
if newest.err then return 0 end
for _, entry in ipairs(newest) do
  if string.find(entry[2][2] or '', ARGV[2], 1, true) then return 0 end
end
redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])
return 1
"""
