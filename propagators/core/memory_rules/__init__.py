"""Rules for the memory of propagators on long and hard video: pure functions and counters on numbers and arrays."""
