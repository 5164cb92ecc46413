"""What a sweep has measured, read, described and drawn; no paper of its own."""
