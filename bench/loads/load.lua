-- Tables, closures, strings and floating point, as a script uses them; prints one word that depends on all of it.

local function permutations_flipped(n)
  local order, flipped, sum, sign = {}, {}, 0, 1
  local rotations = {}
  for i = 1, n do
    order[i] = i
    rotations[i] = i
  end
  while true do
    local first = order[1]
    if first ~= 1 then
      for i = 1, n do flipped[i] = order[i] end
      local flips = 1
      while true do
        local top = flipped[first]
        if top == 1 then break end
        flipped[first] = first
        local i, j = 2, first - 1
        while i < j do
          flipped[i], flipped[j] = flipped[j], flipped[i]
          i, j = i + 1, j - 1
        end
        first = top
        flips = flips + 1
      end
      sum = sum + sign * flips
    end
    if sign == 1 then
      order[1], order[2] = order[2], order[1]
      sign = -1
    else
      order[2], order[3] = order[3], order[2]
      sign = 1
      local i = 3
      while rotations[i] == 1 do
        if i == n then return sum end
        rotations[i] = i
        local moved = order[1]
        for j = 1, i do order[j] = order[j + 1] end
        order[i + 1] = moved
        i = i + 1
      end
      rotations[i] = rotations[i] - 1
    end
  end
end

local function word_counts(lines)
  local counts = {}
  for line = 1, lines do
    local text = ("line %d: value %x, and half of it %.1f"):format(line, line * 2654435761 % 4093, line / 2)
    for word in text:gmatch("%w+") do counts[word] = (counts[word] or 0) + 1 end
  end
  local words = {}
  for word in pairs(counts) do words[#words + 1] = word end
  table.sort(words)
  local mixed = 0
  for at, word in ipairs(words) do mixed = (mixed * 31 + at * counts[word] + #word) % 1000003 end
  return mixed
end

local function orbit(steps)
  local x, y, vx, vy = 1.0, 0.0, 0.0, 1.0
  local step = 0.001
  for _ = 1, steps do
    local cubed = (x * x + y * y) ^ 1.5
    vx, vy = vx - step * x / cubed, vy - step * y / cubed
    x, y = x + step * vx, y + step * vy
  end
  return math.floor(math.abs(x) * 1e4)
end

local function counter()
  local count = 0
  return function(by)
    count = (count + by) % 65521
    return count
  end
end

local count = counter()
for i = 1, 100000 do count(i) end
print(("%d:%d:%d:%d"):format(permutations_flipped(8), word_counts(4000), orbit(60000), count(0)))
