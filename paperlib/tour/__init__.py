"""The tour: no paper of its own, it shows one picture of each."""
