-- Guests: choose them, name them, and group them by node.

local guests = {}

-- The guests that the selectors mean, by id: all, 100, 100-199, @tag, %pool,
-- name globs; with a leading minus what to leave out. A selector that matches
-- nothing is an error. templates: whether templates are guests, too.
-- Returns records as proxmox.guests returns them.
function guests.select(selectors, templates)
  return proxmox.guests{select = selectors, templates = templates or false}
end

-- Guests grouped by the node they are on, nodes in order of their names:
-- a list of {node = NAME, guests = LIST}.
function guests.by_node(list)
  local groups, at = {}, {}
  for _, guest in ipairs(list) do
    if not at[guest.node] then
      at[guest.node] = {node = guest.node, guests = {}}
      table.insert(groups, at[guest.node])
    end
    table.insert(at[guest.node].guests, guest)
  end
  table.sort(groups, function(a, b) return a.node < b.node end)
  return groups
end

-- A number of things, in words: 1 guest, 2 guests.
function guests.count(n, noun)
  return string.format("%d %s%s", n, noun, n == 1 and "" or "s")
end

-- How a person knows a guest: its id and its name.
function guests.label(guest)
  if guest.name == "" then
    return tostring(guest.id)
  end
  return string.format("%d (%s)", guest.id, guest.name)
end

return guests
