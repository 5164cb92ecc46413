"""RCT, Occluded Frequency and their curves of your own networks, as a command with figures."""
