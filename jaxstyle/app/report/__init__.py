"""Makes what a person looks at: report.html and the contact sheet. It may import `run_folder` and all wings below."""
