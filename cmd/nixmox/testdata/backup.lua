--[[
Back up guests, verify the archives, then prune the old ones.

playbooks/backup.star, in Lua: a test holds that both make the same calls.
]]

local guests = require "@std//guests"

needs{
  proxmox = {"read"},
  vzdump = {"read", "backup", "mark", "prune:$storage"},
}

params{
  {name = "storage", default = "backup", env = "STORAGE", doc = "Proxmox storage that takes the archives."},
  {name = "guests", default = {"all"}, doc = "selectors: all, 100, 100-199, @tag, %pool, name glob, -excluded."},
  {name = "mode", default = "snapshot", doc = "snapshot, suspend or stop."},
  {name = "compress", default = "zstd", doc = "zstd, gzip, lzo or none."},
  {name = "verify", default = true, doc = "read every new archive to its end. Without it nothing is pruned."},
  {name = "prune", default = true, doc = "remove what the keep rules do not keep."},
  {name = "keep_last", default = 0, doc = "keep the newest so many archives of each guest."},
  {name = "keep_daily", default = 7, doc = "keep the newest of each of so many days."},
  {name = "keep_weekly", default = 4, doc = "keep the newest of each of so many weeks."},
  {name = "keep_monthly", default = 6, doc = "keep the newest of each of so many months."},
  {name = "keep_yearly", default = 0, doc = "keep the newest of each of so many years."},
}

local function explain(err)
  local said = err.said ~= "" and ": " .. err.said or ""
  local hint = err.hint ~= "" and " (" .. err.hint .. ")" or ""
  return err.what .. said .. hint
end

-- Back up and verify the guests of one node. Problems are returned, not raised.
local function save(group, p)
  local names, ids = {}, {}
  for _, guest in ipairs(group.guests) do
    names[guest.id] = guests.label(guest)
    table.insert(ids, guest.id)
  end
  local problems, proved = {}, {}
  local done = attempt(function()
    return vzdump.backup(group.node, ids, p.storage, {mode = p.mode, compress = p.compress})
  end)
  local result = done.value
  if not result then
    for _, id in ipairs(ids) do
      table.insert(problems, names[id] .. ": " .. explain(done.error))
    end
    return {problems = problems, proved = proved}
  end
  for _, failed in ipairs(result.failed) do
    table.insert(problems, names[failed.guest] .. ": " .. failed.said)
  end
  if not p.verify or #result.archives == 0 then
    return {problems = problems, proved = proved}
  end

  local volids = {}
  for _, archive in ipairs(result.archives) do table.insert(volids, archive.volid) end
  local read = attempt(function() return vzdump.verify(p.storage, volids, {node = group.node}) end)
  if not read.value then
    for _, archive in ipairs(result.archives) do
      table.insert(problems, names[archive.guest] .. ": " .. explain(read.error))
    end
    return {problems = problems, proved = proved}
  end
  for _, failed in ipairs(read.value.failed) do
    table.insert(problems, names[failed.guest] .. ": " .. failed.said)
  end
  local whole = read.value.whole
  if #whole == 0 then
    return {problems = problems, proved = proved}
  end
  log(group.node .. ": " .. guests.count(#whole, "archive") .. " read to the end, and whole")

  local function unmarked(id, why)
    table.insert(problems, names[id] .. ": its new archive was read and is whole, but could not be marked so, and later nobody would know: " .. why)
  end
  local marked = attempt(function() return vzdump.mark(p.storage, whole, {node = group.node}) end)
  if not marked.value then
    for _, v in ipairs(whole) do unmarked(v.guest, explain(marked.error)) end
    return {problems = problems, proved = proved}
  end
  for _, failed in ipairs(marked.value.failed) do unmarked(failed.guest, failed.said) end
  for _, archive in ipairs(marked.value.archives) do table.insert(proved, archive.guest) end
  return {problems = problems, proved = proved}
end

function main(p)
  local chosen = guests.select(p.guests)
  local groups = guests.by_node(chosen)
  log(guests.count(#chosen, "guest") .. " on " .. guests.count(#groups, "node"))

  local problems, proved = {}, {}
  for _, saved in ipairs(parallel(groups, function(group) return save(group, p) end)) do
    for _, problem in ipairs(saved.problems) do table.insert(problems, problem) end
    for _, id in ipairs(saved.proved) do table.insert(proved, id) end
  end
  table.sort(proved)

  if not p.prune then
    log("pruning was not asked for")
  elseif not p.verify then
    log("nothing is pruned: without verification nobody knows that the new archives are whole", {level = "warning"})
  elseif #proved > 0 then
    local rules = keep{last = p.keep_last, daily = p.keep_daily, weekly = p.keep_weekly, monthly = p.keep_monthly, yearly = p.keep_yearly}
    local pruned = vzdump.prune(p.storage, proved, rules)
    log(string.format("pruned %s: %s removed, %d kept", p.storage, guests.count(#pruned.removed, "archive"), #pruned.kept))
  end

  if #problems > 0 then
    fail(
      string.format("%d of %d guests have no new archive that is known to be whole:\n  %s", #problems, #chosen, table.concat(problems, "\n  ")),
      {hint = "their older archives were left alone"})
  end
end
