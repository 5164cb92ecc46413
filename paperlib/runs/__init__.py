"""Plans, runs, checks and publishes the notebooks; no notebook imports this."""
