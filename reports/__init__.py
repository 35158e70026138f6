"""The leaderboard: its tables, figures and pages."""
