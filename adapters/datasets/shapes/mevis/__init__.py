"""The form of `shapes` that imitates MeViSv2: expressions that refer to one object, several or none."""
