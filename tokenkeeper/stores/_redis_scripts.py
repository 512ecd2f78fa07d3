"""The Lua scripts of the store in Redis. Each touches one key, and is atomic.

A record is a hash. Moments in it are whole microseconds on the server's clock, from ``TIME``, which
a script reads with the record, so that an age never mixes two moments. Scripts return ages; an
empty text stands for one that is unknown.

Nothing undoes what a script has written when a later command of it is refused, because the user
lacks the permission. So the version is always written first, and the record stays readable.

The server writes the generation and the fence as text and compares them as text, because a number
of Lua would lose digits beyond 2**53.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["CLAIM", "FAIL", "FORGET", "PUBLISH", "READ", "Script"]

HOUR_MS = 3_600_000
"""How long a record without a token is kept: one with a claim or a failure alone."""

DAY_MS = 24 * HOUR_MS
"""How long it is remembered that a token was forgotten."""

# A moment that is later than now shows that the server's clock was set back. Up to a minute counts
# as just now. Beyond that, the age is unknown: a claim would otherwise last until the clock has
# caught up, and a failure would keep the fleet waiting.
_PRELUDE = """
local key = KEYS[1]
local names = {'version', 'generation', 'sealed', 'lifetime', 'sent_at', 'fence', 'owner',
  'claimed_at', 'intent', 'failure', 'failed_at'}
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function whole(number) return string.format('%.0f', number) end

-- Stricter than tonumber, which takes hexadecimal numbers and 'nan'. HINCRBY takes up to 2**63 - 1.
local function is_count(text)
  local is_small = #text < 19 or (#text == 19 and text < '9223372036854775807')
  return is_small and (text == '0' or string.find(text, '^[1-9]%d*$'))
end

local function is_lifetime(text)
  return text == 'inf' or (string.find(text, '^%d[%d.e+-]*$') and tonumber(text))
end

local function is_moment(text) return not text or (#text < 21 and string.find(text, '^%-?%d+$')) end

local function load()
  local values = redis.call('HMGET', key, unpack(names))
  local record = {left = redis.call('PTTL', key)}
  for number, name in ipairs(names) do record[name] = values[number] end
  if record.left == -2 then
    record.generation, record.fence, record.lifetime = '0', '0', '0'
  elseif record.version and record.version ~= '1' and string.find(record.version, '^%d+$') then
    return record, redis.error_reply('TKNEWER the record has version ' .. record.version)
  elseif record.version ~= '1' then
    return record, redis.error_reply('TKFOREIGN the hash was not written by Tokenkeeper')
  end
  record.generation = record.generation or '0'
  record.fence = record.fence or '0'
  record.lifetime = record.lifetime or '0'
  if not (is_count(record.generation) and is_count(record.fence) and is_lifetime(record.lifetime)
      and is_moment(record.sent_at) and is_moment(record.claimed_at)
      and is_moment(record.failed_at)) then
    return record, redis.error_reply('TKDAMAGED the record has a member that is not a number')
  end
  return record
end

local function age(moment)
  local passed = moment and now - tonumber(moment)
  if not passed or passed < -60000000 then return '' end
  return whole(math.max(passed, 0))
end

local function reply(record)
  return {record.generation, record.sealed, record.lifetime, age(record.sent_at), record.fence,
    record.owner, age(record.claimed_at), record.intent, record.failure, age(record.failed_at)}
end

local function keep_at_least(ms, record)
  local is_new = record.left == -2
  if is_new or (record.left >= 0 and record.left < ms) then redis.call('PEXPIRE', key, ms) end
end

local function release() redis.call('HDEL', key, 'owner', 'claimed_at', 'intent') end

local record, problem = load()
"""

_STOP = "if problem then return problem end\n"

_READ = "return reply(record)"

# ARGV: owner, generation, older than (microseconds), intent
_CLAIM = f"""
local taken_from, taken_intent = '', ''
local is_free = not record.owner or record.owner == ARGV[1]
if not is_free then
  local passed = age(record.claimed_at)
  is_free = passed == '' or tonumber(passed) >= tonumber(ARGV[3])
  taken_from, taken_intent = record.owner, record.intent or ''
end
if record.generation ~= ARGV[2] or not is_free then return {{0, '', '', reply(record)}} end
redis.call('HSET', key, 'version', '1', 'owner', ARGV[1], 'claimed_at', whole(now),
  'intent', ARGV[4])
redis.call('HINCRBY', key, 'fence', 1)
keep_at_least({HOUR_MS}, record)
return {{1, taken_from, taken_intent, reply((load()))}}
"""

# ARGV: owner, replaces, generation, sealed, lifetime, age (microseconds; empty if unknown), expires
# in (ms; 0: never), whether this is the second attempt, because the first one's answer was lost
_PUBLISH = """
if record.generation ~= ARGV[2] then
  local is_done = ARGV[8] == '1' and record.generation == ARGV[3] and record.sealed == ARGV[4]
  return is_done and 1 or 0
end
redis.call('HSET', key, 'version', '1', 'generation', ARGV[3], 'sealed', ARGV[4],
  'lifetime', ARGV[5])
if ARGV[6] == '' then
  redis.call('HDEL', key, 'sent_at')
else
  redis.call('HSET', key, 'sent_at', whole(now - tonumber(ARGV[6])))
end
redis.call('HDEL', key, 'failure', 'failed_at')
if record.owner == ARGV[1] then release() end
if ARGV[7] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[7]) end
return 1
"""

# ARGV: owner, fence, whether there is a failure, the failure, whether it is the second attempt
_FAIL = f"""
if record.fence ~= ARGV[2] or record.owner ~= ARGV[1] then
  return ARGV[5] == '1' and record.fence == ARGV[2] and not record.owner and 1 or 0
end
release()
if ARGV[3] == '1' then
  redis.call('HSET', key, 'failure', ARGV[4], 'failed_at', whole(now))
end
keep_at_least({HOUR_MS}, record)
return 1
"""

# ARGV: whether to delete the whole record. One that is damaged may be deleted, but not changed.
_FORGET = f"""
if problem and not (ARGV[1] == '1' and record.version == '1') then return problem end
local had_token = record.sealed and 1 or 0
if ARGV[1] == '1' then
  redis.call('DEL', key)
elseif record.sealed or record.failure then
  redis.call('HINCRBY', key, 'generation', 1)
  redis.call('HDEL', key, 'sealed', 'lifetime', 'sent_at', 'failure', 'failed_at')
  keep_at_least({DAY_MS}, record)
end
return had_token
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, with the digest that the server knows it by once it has run it."""

    text: bytes
    digest: bytes


def _script(*parts: str) -> Script:
    text = "".join((_PRELUDE, *parts)).encode()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


READ = _script(_STOP, _READ)
CLAIM = _script(_STOP, _CLAIM)
PUBLISH = _script(_STOP, _PUBLISH)
FAIL = _script(_STOP, _FAIL)
FORGET = _script(_FORGET)
