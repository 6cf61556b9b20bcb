"""What a person looks at: report.html and the contact sheet. It imports `run_folder` and all below it."""
