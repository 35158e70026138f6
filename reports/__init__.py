"""The leaderboard, its figures, and the pages they make."""
