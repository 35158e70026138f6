"""The figures of the leaderboard: one file for each kind, all in one style, drawn from plain data."""
