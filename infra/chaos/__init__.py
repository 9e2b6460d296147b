"""A nemesis that disturbs real processes by a seeded schedule, and a checker of what the log then holds."""
