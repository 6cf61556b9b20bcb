"""One module a subcommand: its options, and the calls that carry it out. It imports every other part of the app."""
