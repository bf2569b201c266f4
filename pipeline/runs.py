"""The runs folder: the finished runs, the newest one, and the exported files.

runs/<run>/ holds model.keras, train.json (written last: a run without it is not finished), history.csv,
config.json (written first), state.json and the weights that --resume starts from, tensorboard/, and
export/<model>_<precision>.tflite with a .json sidecar each. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from export.files import sha256_of, write_json
from export.model_format import format_of
from export.partial import partial_folder, sweep
from export.records import json_of
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.run_cache import RunCache
from pipeline.shell import quoted

DEFAULT_RUNS = Path("runs")
CONFIG = "config.json"
RECORD = "train.json"
MODEL = "model.keras"
EXPORT = "export"


def where_runs_are() -> Path:
    """./runs, or $PIPELINE_RUNS, whatever is there."""
    return Path(os.environ.get("PIPELINE_RUNS") or DEFAULT_RUNS)


def runs_folder() -> Path:
    """The folder of all runs; it need not exist yet. UsageError if it is a file."""
    folder = where_runs_are()
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{folder} is a file, where the folder of runs should be. Set PIPELINE_RUNS to a folder."
        )
    return folder


def new_run(folder: Path, name: str, settings: Mapping[str, Any], *, mark: str | None = None) -> Path:
    """Makes the folder of a new run, named `name` and the first free number, with its config.json inside.

    With a mark instead of a number it is that run, whether it is new or not. It gets its name when the
    settings are in it, so that no kill leaves a run without them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if mark is not None and (marked := folder / f"{name}-{mark}").is_dir():
        return marked
    with partial_folder(folder / name) as made:
        write_json(made / CONFIG, settings)
        for number in itertools.count(1):
            run = folder / f"{name}-{mark or number}"
            if run.exists():
                if mark is not None:
                    return run
                continue
            try:
                return made.rename(run)
            except OSError as error:  # another process was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
        raise AssertionError("every number is taken")


def sweep_runs(folder: Path) -> None:
    """Removes what killed commands have left half-written in the runs folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        runs = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        for place in (folder, *runs, *(run / EXPORT for run in runs)):
            sweep(place)


def how_to_resume(run: Path) -> str:
    """The command that resumes an unfinished run."""
    return f"pipeline {'compress' if _is_compression(run) else 'train'} --resume {quoted(run.name)}"


def setting_of(run: Path, name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """The value of `name` in a run's config.json. Raises PipelineError if the file is damaged."""
    try:
        return _settings_of(run)[name]
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(
            f"{run / CONFIG} is damaged ({error!r}), so the run's settings are lost. Start a new one."
        ) from error


def text_setting_of(run: Path, name: str) -> str:
    """As setting_of, of a setting that is a text."""
    value = setting_of(run, name)
    if not isinstance(value, str):
        raise PipelineError(
            f"{run / CONFIG} is damaged ('{name}' is {value!r:.40}, where a text was expected). Start anew."
        )
    return value


def _settings_of(run: Path) -> dict[str, Any]:
    found = json_of(run / CONFIG)
    if not isinstance(found, dict):
        raise ValueError(f"an object was expected, not {found!r:.40}")
    return found


def find_unfinished(name: str, folder: Path, *, compressed: bool) -> Path:
    """The unfinished compression, or training, with this path, or with this folder name in `folder`.

    Without a name, the one that was started last.
    """
    if not name:
        return _newest_unfinished(folder, compressed=compressed)
    found = [path for path in (Path(name), folder / name) if (path / CONFIG).is_file()]
    if not found:
        raise unknown_name("unfinished run", name, [run.name for run in unfinished_runs(folder)])
    run = found[0]
    if (run / RECORD).exists():
        raise UsageError(f"the run {run.name} is finished; there is nothing to resume. See it: pipeline runs")
    if _is_compression(run) is (not compressed):  # None, for damaged settings, is reported when they are read
        kinds = ("a training, not a compression", "a compression, not a training")
        raise UsageError(f"{run.name} is {kinds[not compressed]}: {how_to_resume(run)}")
    return run


def _newest_unfinished(folder: Path, *, compressed: bool) -> Path:
    runs = [run for run in unfinished_runs(folder) if _is_compression(run) is compressed]
    if not runs:
        kind = "compression" if compressed else "training"
        raise UsageError(f"there is no unfinished {kind} in {folder}/. All that is there: pipeline runs")
    return max(runs, key=_started)


def _is_compression(run: Path) -> bool | None:
    """Whether a run was started by `pipeline compress`; None if its settings are damaged."""
    try:
        return "compression" in _settings_of(run)
    except ValueError:
        return None


def finished_runs(folder: Path, cache: RunCache | None = None) -> list[Path]:
    """The finished runs, oldest first by what their records say."""
    cache = cache or RunCache(folder)
    found = [_finished(Path(place, RECORD), status, cache) for place, status in _places(folder, RECORD)]
    cache.save()
    return [record.parent for _, _, record in sorted(found)]


def _places(folder: Path, name: str) -> Iterator[tuple[str, os.stat_result]]:
    """The folders in a folder that have a file of that name, and its status."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield entry.path, os.stat(f"{entry.path}{os.sep}{name}")  # noqa: PTH116 - of thousands


def _finished(record: Path, status: os.stat_result, cache: RunCache) -> tuple[float, int, Path]:
    with contextlib.suppress(PipelineError, OSError, ValueError, OverflowError):
        finished = datetime.fromisoformat(cache.trained(record, status).finished_utc)
        return finished.timestamp(), status.st_mtime_ns, record
    return _time_in(record, "finished_utc")


def _started(run: Path) -> tuple[float, int, Path]:
    return _time_in(run / CONFIG, "started_utc")


def _time_in(path: Path, name: str) -> tuple[float, int, Path]:
    """When a JSON file says that it was, for sorting; copying a folder changes the file's own time.

    That one decides between equal times, and where the file is damaged.
    """
    written = path.stat().st_mtime_ns
    try:
        return datetime.fromisoformat(json_of(path)[name]).timestamp(), written, path
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return written / 1e9, written, path


def unfinished_runs(folder: Path) -> list[Path]:
    """The unfinished runs, by name; how_to_resume() says how to resume them."""
    found = sorted(Path(place) for place, _ in _places(folder, CONFIG))
    return [run for run in found if not (run / RECORD).exists()]


def newest_run(folder: Path) -> Path:
    """The run that finished last."""
    runs = finished_runs(folder)
    if not runs:
        raise PipelineError(
            f"there is no finished run in {folder}/. Train one first: pipeline train mobilenet --alpha 0.25. "
            "Or give a model or file of your own by its path."
        )
    return runs[-1]


def newest_doubt(folder: Path) -> str | None:
    """Why the newest run may not be the one that is meant; None if its files are also the newest."""
    runs = finished_runs(folder)
    last_written = max(runs, key=lambda run: _written(run / RECORD), default=None)
    if last_written is None or _written(last_written / RECORD) <= _written(runs[-1] / RECORD):
        return None
    return (
        f"the newest run is {runs[-1].name}: it finished last, as its record says, though the files of "
        f"{last_written.name} were written later (by a copy?). Give a run's name to take another."
    )


def find_run(name: str, folder: Path) -> Path:
    """The finished run with this path, or with this folder name in `folder`."""
    for candidate in (Path(name), folder / name):
        if (candidate / RECORD).is_file():
            return candidate
        if (candidate / CONFIG).is_file():
            raise PipelineError(
                f"the run {candidate} is not finished. Go on with it: {how_to_resume(candidate)}"
            )
        if exported_files(candidate):
            raise UsageError(
                f"{candidate} is no run: it holds what was exported from a model from elsewhere, for verify, "
                "bench and explain. To export or compress, give that model's own file or folder."
            )
    if Path(name).is_file():
        raise UsageError(f"{name} is a file, and neither a run nor a .tflite file. The runs: pipeline runs")
    if Path(name).is_dir():
        raise UsageError(
            f"the folder {name} is no run: it has no {RECORD}, and no exported file. The runs: pipeline runs"
        )
    runs = [run.name for run in finished_runs(folder)]
    unknown = unknown_name("run", name, runs)
    raise unknown if runs else UsageError(f"{unknown} Train one first: pipeline train mobilenet --alpha 0.25")


def folder_of_model(path: Path, folder: Path) -> Path:
    """The folder in `folder` of a model from elsewhere: two files of one name may be two models."""
    return folder / f"{model_name(path)}-{sha256_of(path)[:8]}"


def model_name(path: Path) -> str:
    """The name of a model from elsewhere: its file's without the suffix, or its folder's."""
    return path.absolute().name if path.is_dir() else path.stem


def exported_files(run: Path) -> list[Path]:
    """The .tflite files of a run that have a sidecar, by name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(run / EXPORT) as entries:
        found = {entry.name: entry for entry in entries}
        return [
            Path(found[name].path)
            for name in sorted(found)
            if name.endswith(".tflite")
            and (sidecar := found.get(f"{name.removesuffix('.tflite')}.json"))
            and sidecar.is_file()
        ]
    return []


def foreign_exports(folder: Path) -> list[Path]:
    """The folders with files from models from elsewhere, oldest first by what their sidecars say."""
    places = [Path(place) for place, _ in _places(folder, EXPORT)]
    made = {each: exported_files(each) for each in places if not (each / RECORD).is_file()}
    found = [(max(map(_exported, files)), each) for each, files in made.items() if files]
    return [each for _, each in sorted(found)]


def _exported(tflite: Path) -> tuple[float, int, Path]:
    return _time_in(tflite.with_suffix(".json"), "created_utc")


def tflite_files(targets: Sequence[str], folder: Path) -> list[Path]:
    """The .tflite files of a command's FILE and RUN arguments.

    Without any, the newest run's, or where there is no run, those last exported from a model from elsewhere.
    """
    files: list[Path] = []
    for target in targets or (str(_newest(folder)),):
        path = Path(target)
        if path.suffix == ".tflite":
            if not path.is_file():
                near = [file.name for file in path.parent.glob("*.tflite")] if path.parent.is_dir() else []
                raise (
                    unknown_name("file", path.name, near)
                    if near
                    else UsageError(f"there is no file {path}. Check the path.")
                )
            files.append(path)
            continue
        files.extend(_files_of(target, folder))
    return list(dict.fromkeys(files))


def _newest(folder: Path) -> Path:
    foreign = [] if finished_runs(folder) else foreign_exports(folder)
    return foreign[-1] if foreign else newest_run(folder)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _files_of(target: str, folder: Path) -> list[Path]:
    """The exported files in a run, or in the folder of a model from elsewhere."""
    if format_of(Path(target)) is not None:
        return _files_of_model(Path(target), folder)
    for place in (Path(target), folder / target):
        if not (place / RECORD).is_file() and exported_files(place):
            return exported_files(place)
    run = find_run(target, folder)
    if not exported_files(run):
        raise PipelineError(
            f"the run {run} has no exported file. Export one: pipeline export {quoted(run.name)} --int8"
        )
    return exported_files(run)


def _files_of_model(path: Path, folder: Path) -> list[Path]:
    """The files that were exported from a model's file or SavedModel folder."""
    in_run = path.name == MODEL and (path.absolute().parent / RECORD).is_file()
    made = exported_files(path.absolute().parent if in_run else folder_of_model(path, folder))
    if not made:
        raise PipelineError(
            f"{path} has no exported file in {folder}/. Export one: pipeline export {quoted(path)} --int8"
        )
    return made
