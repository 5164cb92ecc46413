"""SAM's encoder split into windows and global attention."""
