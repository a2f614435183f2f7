-- luarun callguard.lua UUID: asks Callguard about a call, records it in slices no longer than the
-- answer stands, seals each slice, asks again; until a denial or the end of the call.
-- Lua 5.2 and later (FreeSWITCH 1.10). See callguard.xml.
--
-- io.popen and os.execute start a shell. So their commands are made of constants, the channel's uuid
-- and words of the agent, each held against a pattern; what callers have chosen goes to standard
-- input as JSON.

local CHECK = "exec /opt/callguard/bin/callguard-agent check"
    .. " --socket /run/callguard-agent/decisions.sock --node node-1"
    .. " --who freeswitch --what whole-call --stdin json 2>/dev/null"
local SLICES = "/run/callguard-freeswitch/"
local SEALED = "/var/spool/callguard-freeswitch/"
local MARGIN = 2 -- seconds between the end of a slice and the end of the permit

local uuid = argv[1] or ""
local hex = "%x%x%x%x"
local pattern = "^" .. hex .. hex .. ("%-" .. hex):rep(4) .. hex .. hex .. "$"
if not uuid:match(pattern) then return end
local api = freeswitch.API()

local function variable(name)
    local value = api:executeString("uuid_getvar " .. uuid .. " " .. name) or ""
    if value == "_undef_" or value:match("^%-ERR") then return "" end
    return value
end

local function quoted(text)
    return '"' .. text:gsub('[%c"\\\127]', function(sign)
        return string.format("\\u%04x", sign:byte())
    end) .. '"'
end

local function seconds_and_grants(answer)
    local seconds = tonumber(answer:match("^permitted content; ask again within (%d+) seconds\n"))
    local grants = {}
    for line in answer:gmatch("[^\n]+") do
        local grant = line:match("^grant ([%x%-]+) until ")
        local recipient = line:match("^  seal to (age1%w+)$")
        if grant then grants[#grants + 1] = { id = grant, recipients = "" } end
        if recipient then
            local last = grants[#grants]
            last.recipients = last.recipients .. " -r " .. recipient
        end
    end
    return seconds, grants
end

-- Returns for how long and for whom, or nothing: denied, nobody there, anything else.
local function ask()
    local call = '{"call_id": ' .. quoted(variable("sip_call_id"))
        .. ', "from": ' .. quoted(variable("sip_full_from"))
        .. ', "to": ' .. quoted(variable("sip_full_to")) .. "}"
    local name = SLICES .. uuid .. ".answer"
    local pipe = io.popen(CHECK .. " >" .. name, "w")
    pipe:write(call)
    local permitted = pipe:close()
    local file = io.open(name)
    local answer = file and file:read("a") or ""
    if file then file:close() end
    os.remove(name)
    if permitted then return seconds_and_grants(answer) end
end

local function seal(slice, number, grants)
    for _, grant in ipairs(grants) do
        local target = SEALED .. grant.id .. "-" .. uuid .. "-" .. number .. ".age"
        os.execute("exec age" .. grant.recipients .. " -o " .. target .. " " .. slice)
    end
    os.remove(slice)
end

local function exists()
    return api:executeString("uuid_exists " .. uuid) == "true"
end

local number = 0
while exists() do
    local seconds, grants = ask()
    -- uuid_record takes 0 for "no limit": what is too short for a slice is a denial.
    if not seconds or seconds - MARGIN < 1 then break end
    number = number + 1
    local slice = SLICES .. uuid .. "-" .. number .. ".wav"
    local limit = seconds - MARGIN
    api:executeString("uuid_record " .. uuid .. " start " .. slice .. " " .. limit)
    local left = limit * 10
    while left > 0 and exists() do
        freeswitch.msleep(100)
        left = left - 1
    end
    api:executeString("uuid_record " .. uuid .. " stop " .. slice)
    seal(slice, number, grants)
end
