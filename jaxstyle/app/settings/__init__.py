"""What a job and its lanes may be set to, and how settings are read. This wing imports the library and `system`."""
