"""The pictures that arguments name, and what a job makes of them. It imports `image_files`, `settings` and `system`."""
