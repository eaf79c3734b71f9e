"""How well learned signals expose manipulation, beside the same detector without signals, and what attackers can do."""
