"""Runs a whole sweep in its run folder, in one process or several, also one that takes hours.

A sweep that was stopped or killed goes on with `jaxstyle resume RUN`, to the same bits on the same machine. Ctrl-C and
SIGTERM finish the chunk of steps, one to five seconds, and save. Beside that a checkpoint is written every 5 minutes
(`--checkpoint-every`); one that can't be written doesn't stop a run.

A lane that diverges, or whose loss is not finite, keeps its last good picture and is named in `lanes.csv` with its
step. It changes no bit of the others. lbfgs goes back from such an image by itself and tries a shorter step. `--retry
2` starts lanes that failed again after the others, each time with a tenth of the learning rate (of lbfgs: of its
longest step). `--tolerance 0.01` stops a lane whose total fell by less than 1 % in 25 steps. `--refine 4` adds four
lanes around the knee by itself.

Lanes are shared out among all local devices. `--shard 0/3`, `1/3` and `2/3` with one `--out` are three jobs, each
resumable alone, which `jaxstyle merge RUN` joins. With `--distributed` the processes of a TPU slice or a Slurm job
share the lanes out by themselves (elsewhere with `--coordinator HOST:PORT --process 0/2`), and process 0 joins them
when all are done. A process of `--distributed` that is stopped or killed takes no other along: `jaxstyle resume
RUN/shards/1-of-2` goes on with its share, and `jaxstyle merge RUN` then joins them.

`--save-every` keeps pictures on the way, of which `jaxstyle animate RUN -o lane.webp` makes an animation. `--log-json`
writes progress for programs, and `jaxstyle.app.cli.call` calls a function of yours after each chunk. Where a file
system has no locks, a file `.lock-held` stands for one.

This wing may import `report` and all wings below that.
"""
