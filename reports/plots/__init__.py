"""The figures of the leaderboard: a file for each kind, all in one style, of plain data."""
