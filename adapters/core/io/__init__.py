"""Bytes on disk: bounded reads, atomic writes, hashes, json and YAML, PNG, and processes that end with this one."""
