"""The process that computes for a program with a window: its job, its messages, its frames, its client."""
