"""Makes what a person looks at: report.html and the contact sheet.

report.html is one file that needs no network. Its slider walks through the setting that varies, such as beta; C, S and
D show content, style and difference. The plots show which lanes no other beats, and the knee among them; a click opens
a lane. For every lane it shows the command that makes the lane alone.

The page is in the run folder before the first step, and `--open` opens it in your browser. From the first chunk on it
shows the pictures as they come. It loads itself anew every few seconds and keeps the lane, the view and the place that
you look at; Pause holds it. When the run has ended, the page is still, and holds plots and metrics. A run that was
stopped says so on its page, and `jaxstyle resume RUN` goes on with both. Shards have no page before they are merged.

The button of a star, or P, stars a picture. The part "Starred" then holds the settings of starred pictures as a grid
file, and the command that makes them again: `jaxstyle sweep photo.jpg painting.jpg --grid picked.toml --size 512`.
`jaxstyle report RUN --open` makes the page of a run again and opens it.

This wing may import `run_folder` and all wings below.
"""
