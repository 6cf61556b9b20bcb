"""Makes what a person looks at: report.html and the contact sheet.

report.html is one file that needs no network. Its slider walks through the setting that varies, such as beta; C, S and
D show content, style and difference. The plots show which lanes no other beats, and the knee among them; a click opens
a lane. For every lane it shows the command that makes the lane alone.

This wing may import `run_folder` and all wings below.
"""
