"""What a server can make of what it sees: reconstruction and recognition."""
