"""What people read, computed from records: leaderboards, statistics, exports."""
