-- bench/work/mix.lua: tables, closures, strings in Lua.
local function work(n)
    local total, words, queue = 0, {}, {}
    for i = 1, n do
        local key = "k" .. (i % 701)
        words[key] = (words[key] or 0) + i * 3
        queue[#queue + 1] = function(x) return x + i % 7 end
        if #queue > 50 then
            for k = 1, #queue do total = queue[k](total) % 1000003 end
            queue = {}
        end
    end
    local keys = {}
    for k in pairs(words) do keys[#keys + 1] = k end
    table.sort(keys)
    for _, k in ipairs(keys) do total = (total * 31 + words[k]) % 1000003 end
    for w in ("the quick brown fox "):rep(n // 40):gmatch("%a+") do total = (total + #w * w:byte(1)) % 1000003 end
    return total
end
print(work(300000))
