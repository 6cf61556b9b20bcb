"""Loads the job that run.json records again, and checks that everything is as it was."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxstyle
from jaxstyle.app.execution.job import Job, load_job
from jaxstyle.app.pictures.read_image import STDIN, NothingPipedError
from jaxstyle.app.run_folder.run_json import describe_inputs, encode_record, hash_lanes, make_record
from jaxstyle.app.settings.settings import Settings, from_options
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import write_atomic
from jaxstyle.app.system.screen import command_for, tell


def load_recorded_job(folder: Path, record: Mapping[str, Any], command: str, network: str | None = None) -> Job:
    """Load the job of a run again.

    Args:
      folder: the run folder.
      record: contents of run.json.
      command: the command that loads it, "resume" or "merge".
      network: what --network says now. A run folder that somebody hands on never makes a command import code: a
        network that is code has to be named again.

    Raises:
      StartError: as `load_job` does, if an image has to be piped in again, and if --network is not that of the run.
    """
    settings = recorded_settings(record)
    if (network or settings.network) != settings.network or (":" in settings.network and network is None):
        raise StartError(
            f"cannot {command} {folder}: it was started with --network {settings.network}, which has to be given again"
        )
    try:
        with _in_recorded_directory(record):
            return load_job(settings)
    except NothingPipedError as error:
        raise StartError(
            f"cannot {command} {folder}: its {_piped_kind(record)} image came through a pipe; pipe the same one in "
            f"again: {command_for(command, folder)} < IMAGE"
        ) from error
    except StartError as error:
        if _lacks_relative_file(error) and _starts_elsewhere(record):
            raise StartError(f"{error}, in {record['directory']}, where the run was started") from error
        raise


def _piped_kind(record: Mapping[str, Any]) -> str | None:
    """Return which kind of image the run read from standard input; None if it read none."""
    options = record["options"]
    given = {"content": [options["content"]], "style": [options["style"]], "start": [options["init"]]}
    return next((kind for kind, names in {**given, "blend": options["blend"]}.items() if STDIN in names), None)


def _in_recorded_directory(record: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Work in the directory where the run was started, if it is still there: names of images are relative to it."""
    return contextlib.chdir(record["directory"]) if _starts_elsewhere(record) else contextlib.nullcontext()


def _starts_elsewhere(record: Mapping[str, Any]) -> bool:
    """Return whether the directory where the run was started is still there, and is not the present one."""
    directory = Path(record["directory"])
    return directory.is_dir() and not directory.samefile(Path())


def _lacks_relative_file(error: BaseException | None) -> bool:
    """Return whether an error comes of a file that is not there, under a name that depends on the directory."""
    if isinstance(error, FileNotFoundError):
        return not Path(error.filename or "/").is_absolute()
    return error is not None and _lacks_relative_file(error.__cause__)


def recorded_settings(record: Mapping[str, Any]) -> Settings:
    """Read the settings of a run.

    Raises:
      StartError: if another version of jaxstyle wrote the record.
    """
    try:
        return Settings(**from_options({name: _to_tuples(value) for name, value in record["options"].items()}))
    except (KeyError, TypeError) as error:
        raise StartError(
            f"the run was started by jaxstyle {record.get('jaxstyle')}, whose options differ from those of "
            f"{jaxstyle.__version__}: go on with that version"
        ) from error


def _to_tuples(value: Any) -> Any:
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value


def restore_run_json(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json again if it is not as `record` says; an option that somebody changed there is refused.

    Raises:
      StartError: if an option was changed, which it names.
    """
    file = folder / "run.json"
    wanted = encode_record(record)
    try:
        data = file.read_bytes()
        if data == wanted:
            return
        found = json.loads(data)
    except (OSError, ValueError):
        found = None
    found = found if isinstance(found, dict) else {}
    for kind in ("options", "run") if found else ():
        before = json.loads(wanted)[kind]
        now = found[kind] if isinstance(found.get(kind), dict) else {}
        for name in before.keys() | now.keys():
            if before.get(name) != now.get(name):
                raise StartError(
                    f"cannot resume {folder}: run.json says {name} {now.get(name)}, but the run was started with "
                    f"{before.get(name)}; put that back, or start another run"
                )
    tell(f"{file} is {'not as it was' if found else 'damaged or gone'}; it is written again")
    write_atomic(file, wanted)


def check_same_job(folder: Path, record: Mapping[str, Any], job: Job) -> None:
    """Refuse to go on with a run whose images, weights or lanes have changed.

    Raises:
      StartError: if anything has changed; it names the first difference.
    """
    difference = _find_difference(record, job)
    if difference:
        advice = "pipe that one in" if "piped in" in difference else "put it back"
        raise StartError(f"cannot resume {folder}: {difference}; {advice}, or start another run")
    present = make_record(job, "", {})
    for kind in ("versions", "device"):
        for name, now in present[kind].items():
            before = record[kind].get(name)
            if now != before and name not in ("python", "pillow"):
                tell(f"note: {name} is {now} now and was {before}: results are the same to rounding only")


def _find_difference(record: Mapping[str, Any], job: Job) -> str | None:
    for kind, pictures in job.pictures.by_kind().items():
        before, now = record["inputs"].get(kind, []), describe_inputs(kind, pictures)
        names = [[str(one["file"]) for one in some] for some in (before, now)]
        if names[0] != names[1]:
            changed = sorted(set(names[0]) ^ set(names[1])) or ["their order"]
            return f"the {kind} images are not those it was started with ({', '.join(changed[:3])})"
        for old, new in zip(before, now, strict=True):
            if old["pixels_sha256"] != new["pixels_sha256"]:
                if _piped_kind(record) == kind:
                    return f"the {kind} image piped in is not the one that it was started with"
                return f"the {kind} image {old['file']} has changed since it was started"
    weights = record["weights"]
    if weights["sha256"] != job.network.sha256:
        return f"the weights {weights['name']} have changed since it was started"
    if record["lanes_sha256"] != hash_lanes(job.lanes):
        return f"the lanes of {record['options']['grid'] or 'its lists'} are not those it was started with"
    return None
