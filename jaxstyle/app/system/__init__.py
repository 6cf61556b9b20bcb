"""The process and its surroundings: messages, signals, files, locks, memory. It imports nothing else of the app."""
